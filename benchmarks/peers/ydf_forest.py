# /// script
# dependencies = ["numpy==2.4.6", "ydf==0.16.1"]
# ///
"""A random forest of YDF as its documentation begins: no setting but the label."""

import time

import ydf
from mnist import load_data, report

(x_train, y_train), (x_test, y_test) = load_data()
train, test = (
    {"pixels": images.reshape(-1, 784).astype("float32"), "label": labels.astype("int64")}
    for images, labels in ((x_train, y_train), (x_test, y_test))
)
ydf.verbose(0)

start = time.perf_counter()
model = ydf.RandomForestLearner(label="label").train(train)
seconds = time.perf_counter() - start

report(seconds, model.evaluate(test).accuracy)
