"""A model of PyTorch as a fastconv network, and back."""

import numpy as np
import torch
from torch import nn

import fastconv
from fastconv.interop.pytorch import from_torch, to_torch

torch.manual_seed(0)
model = nn.Sequential(
    nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(512, 10)
).eval()  # fmt: skip
images = torch.randn(4, 3, 16, 16)

network = from_torch(model, images)  # its images are (N, H, W, C)
print(network)
scores = fastconv.Predictor(network)(images.numpy().transpose(0, 2, 3, 1).copy())
print("largest difference:", np.abs(scores - model(images).detach().numpy()).max().round(4))

again = to_torch(network)  # torch.nn's own layers, by the network's names
print(*again.state_dict())
torch.testing.assert_close(again(images), model(images), rtol=1e-4, atol=1e-4)
