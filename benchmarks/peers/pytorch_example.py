# /// script
# dependencies = ["numpy==2.4.6", "torch==2.15.0"]
# ///
"""PyTorch's own example for MNIST: two convolutions, one pooling, Adadelta, 14 epochs."""

import time

import torch
from mnist import load_data, report
from torch import nn
from torch.nn import functional
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3)
        self.dropout1, self.dropout2 = nn.Dropout(0.25), nn.Dropout(0.5)
        self.fc1, self.fc2 = nn.Linear(9216, 128), nn.Linear(128, 10)

    def forward(self, x):
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        x = torch.flatten(self.dropout1(functional.max_pool2d(x, 2)), 1)
        x = self.dropout2(functional.relu(self.fc1(x)))
        return functional.log_softmax(self.fc2(x), dim=1)


(x_train, y_train), (x_test, y_test) = load_data()
sets = []
for images, labels in ((x_train, y_train), (x_test, y_test)):
    scaled = (torch.tensor(images)[:, None] / 255 - 0.1307) / 0.3081
    sets.append(TensorDataset(scaled, torch.tensor(labels, dtype=torch.int64)))
train, test = DataLoader(sets[0], batch_size=64, shuffle=True), DataLoader(sets[1], batch_size=1000)

torch.manual_seed(1)
model = Net()
optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
scheduler = StepLR(optimizer, step_size=1, gamma=0.7)

start = time.perf_counter()
for _ in range(14):
    model.train()
    for images, labels in train:
        optimizer.zero_grad()
        functional.nll_loss(model(images), labels).backward()
        optimizer.step()
    scheduler.step()
seconds = time.perf_counter() - start

model.eval()
with torch.no_grad():
    correct = sum((model(images).argmax(dim=1) == labels).sum().item() for images, labels in test)
report(seconds, correct / len(y_test))
