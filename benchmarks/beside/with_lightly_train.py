"""lightly-train's `distillation`: a folder of images, a published teacher by name (DINOv2, DINOv3), features without labels."""

import lightly_train

lightly_train.pretrain(
    out="build/beside-lightly",
    data="photos",
    model="torchvision/resnet18",
    method="distillation",
    method_args={"teacher": "dinov2/vits14"},
    epochs=1,
    batch_size=16,
)
