"""scikit-learn's own example of its `MLPClassifier` on MNIST: 40 hidden units, eight passes."""

import time
import warnings

from mnist import load_data, report
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

(x_train, y_train), (x_test, y_test) = load_data()
x_train, x_test = x_train.reshape(60000, 784) / 255, x_test.reshape(10000, 784) / 255
mlp = MLPClassifier(
    hidden_layer_sizes=(40,), max_iter=8, alpha=1e-4, solver="sgd", random_state=1, learning_rate_init=0.2
)

start = time.perf_counter()
with warnings.catch_warnings():
    warnings.simplefilter("ignore", ConvergenceWarning)
    mlp.fit(x_train, y_train)
seconds = time.perf_counter() - start

report(seconds, mlp.score(x_test, y_test))
