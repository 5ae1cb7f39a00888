# blog-forest: R's randomForest, 500 trees with importance, on 3,000 training images.
# Arguments: the folder of MNIST, and the folder with the 3,000 images and labels in the same format.
suppressMessages(library(randomForest))

arguments <- commandArgs(trailingOnly = TRUE)

images <- function(name, n) {
  file <- gzfile(name, "rb")
  on.exit(close(file))
  readBin(file, "raw", 16)
  matrix(readBin(file, "integer", n * 784, size = 1, signed = FALSE), n, byrow = TRUE)
}
labels <- function(name, n) {
  file <- gzfile(name, "rb")
  on.exit(close(file))
  readBin(file, "raw", 8)
  factor(readBin(file, "integer", n, size = 1, signed = FALSE), levels = 0:9)
}

x <- images(file.path(arguments[2], "images.gz"), 3000)
y <- labels(file.path(arguments[2], "labels.gz"), 3000)
x_test <- images(file.path(arguments[1], "t10k-images-idx3-ubyte.gz"), 10000)
y_test <- labels(file.path(arguments[1], "t10k-labels-idx1-ubyte.gz"), 10000)

set.seed(1)
seconds <- system.time(forest <- randomForest(x, y, ntree = 500, importance = TRUE))[["elapsed"]]
accuracy <- mean(predict(forest, x_test) == y_test)
cat(sprintf('{"fit_seconds": %.3f, "test_accuracy": %.5f}\n', seconds, accuracy))
