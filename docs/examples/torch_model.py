"""An example of a PyTorch network, as an exported program and as TorchScript.

    python docs/examples/torch_model.py ./torch

writes model.pt2 and script.pt, and sample.csv; the readings are those of table_model.py.
"""

import sys
from pathlib import Path

import torch
from table_model import prepare


class Network(torch.nn.Module):
    """Scales the readings as it was told, and gives one number a row."""

    def __init__(self, mean: torch.Tensor, spread: torch.Tensor, level: float) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("spread", spread)
        self.level = level
        self.inner = torch.nn.Sequential(torch.nn.Linear(3, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        return self.level + 10 * self.inner((rows - self.mean) / self.spread)


def main(folder: Path) -> None:
    table, power = prepare(folder)
    torch.manual_seed(1)
    rows, target = torch.from_numpy(table), torch.from_numpy(power.astype("float32")).reshape(-1, 1)
    model = Network(rows.mean(0), rows.std(0), float(power.mean()))
    optimizer = torch.optim.Adam(model.parameters(), 0.02)
    for _ in range(300):
        optimizer.zero_grad()
        torch.nn.functional.mse_loss(model(rows), target).backward()
        optimizer.step()
    model.eval()
    free = ({0: torch.export.Dim("rows")},)
    torch.export.save(torch.export.export(model, (rows[:4],), dynamic_shapes=free), folder / "model.pt2")
    torch.jit.trace(model, rows[:4]).save(str(folder / "script.pt"))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
