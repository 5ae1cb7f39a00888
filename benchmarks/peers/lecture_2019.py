"""lecture-2019 and blog-mlp: MLP 512, 5 epochs."""

import time

import keras
from keras import layers
from mnist import load_data, report

(x_train, y_train), (x_test, y_test) = load_data()
x_train = x_train.reshape(60000, 784).astype("float32") / 255
x_test = x_test.reshape(10000, 784).astype("float32") / 255
y_train = keras.utils.to_categorical(y_train, 10)
y_test = keras.utils.to_categorical(y_test, 10)

model = keras.Sequential(
    [keras.Input((784,)), layers.Dense(512, activation="relu"), layers.Dense(10, activation="softmax")]
)
model.compile(loss="categorical_crossentropy", optimizer="rmsprop", metrics=["accuracy"])

start = time.perf_counter()
model.fit(x_train, y_train, epochs=5, batch_size=128, validation_split=0.1, verbose=0)
seconds = time.perf_counter() - start

report(seconds, model.evaluate(x_test, y_test, verbose=0)[1])
