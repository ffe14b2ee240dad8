"""Train a model of PyTorch whose layers fastconv computes."""

import torch
from torch import nn

from fastconv.interop import pytorch

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
    nn.Flatten(), nn.Dropout(0.1), nn.Linear(128, 2),
)  # fmt: skip
optimizer = torch.optim.Adam(model.parameters(), 0.01)
print(pytorch.replace_layers(model))  # in place: the optimiser's parameters stay the model's

labels = torch.arange(64) % 2
images = torch.randn(64, 1, 8, 8) + labels.reshape(-1, 1, 1, 1)
for step in range(21):
    optimizer.zero_grad()
    loss = nn.functional.cross_entropy(model(images), labels)
    loss.backward()
    optimizer.step()
    if step % 10 == 0:
        print(f"step {step}: loss {loss.item():.3f}")
