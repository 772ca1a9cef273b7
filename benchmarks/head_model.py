"""How the 3-D head of features/head.py was made: prints its table.

    UNMASK_DATA=/data python benchmarks/head_model.py runs/landmarks/d4723ddc7e21c711.npz

The argument is what ``python -m unmask.data.landmark_training`` keeps of the training photos: the teacher's 3-D points.
Faces that look ahead (nose within 6 % of the eye distance of the middle between the eyes, and between the mouth's
corners) are moved to the middle of the outer eye corners, turned upright in the image plane, scaled to their distance
and averaged, and the mean is averaged with its mirror image.
"""

from __future__ import annotations

import sys

import numpy as np

from unmask.features.head import INNER, JAW
from unmask.nn.landmarks import OUTER_EYES, mirror_order

with np.load(sys.argv[1]) as held:
    points = held["points"].astype(float)  # (N, 468, 3)
left, right = (points[:, i] for i in OUTER_EYES)
middle, across = (left + right) / 2, (right - left)[:, :2]
points = (points - middle[:, None]) / np.linalg.norm(across, axis=1)[:, None, None]
turn = np.arctan2(across[:, 1], across[:, 0])
x, y = points[..., 0].copy(), points[..., 1].copy()
points[..., 0] = x * np.cos(turn)[:, None] + y * np.sin(turn)[:, None]
points[..., 1] = y * np.cos(turn)[:, None] - x * np.sin(turn)[:, None]
ahead = (np.abs(points[:, 1, 0]) < 0.06) & (np.abs(points[:, 1, 0] - points[:, [61, 291], 0].mean(1)) < 0.06)
mean = points[ahead].mean(0)
order = mirror_order()
mean = (mean + mean[order] * (-1, 1, 1)) / 2
print(f"# {ahead.sum()} of {len(points)} faces")
for name, chosen in (("INNER", INNER), ("JAW", JAW)):
    print(name)
    for i in chosen:
        print(f"    {i}: ({', '.join(f'{v:.4f}' for v in mean[i])}),")
