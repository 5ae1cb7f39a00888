"""The current Keras example for MNIST: two convolutions, each pooled, 15 epochs."""

import time

import keras
from keras import layers
from mnist import load_data, report

(x_train, y_train), (x_test, y_test) = load_data()
x_train = x_train.astype("float32")[..., None] / 255
x_test = x_test.astype("float32")[..., None] / 255
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model = keras.Sequential(
    [
        keras.Input((28, 28, 1)),
        layers.Conv2D(32, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Conv2D(64, 3, activation="relu"),
        layers.MaxPooling2D(2),
        layers.Flatten(),
        layers.Dropout(0.5),
        layers.Dense(10, activation="softmax"),
    ]
)
model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])

start = time.perf_counter()
model.fit(x_train, y_train, epochs=15, batch_size=128, validation_split=0.1, verbose=0)
seconds = time.perf_counter() - start

report(seconds, model.evaluate(x_test, y_test, verbose=0)[1])
