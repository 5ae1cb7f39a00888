"""A random forest of 100 trees on the pixels of all training images."""

import time

from mnist import load_data, report
from sklearn.ensemble import RandomForestClassifier

(x_train, y_train), (x_test, y_test) = load_data()
x_train = x_train.reshape(60000, 784) / 255
x_test = x_test.reshape(10000, 784) / 255

start = time.perf_counter()
forest = RandomForestClassifier(n_estimators=100, n_jobs=-1).fit(x_train, y_train)
seconds = time.perf_counter() - start

report(seconds, forest.score(x_test, y_test))
