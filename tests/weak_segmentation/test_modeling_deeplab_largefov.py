"""Architecture, frozen norms and loss of the segmenters."""

import math

import pytest
import torch
import torchvision
from tiny_deeplab import tiny_segmenter
from torch.testing import assert_close

from dense_hf import DeepLabLargeFOVConfig, DeepLabLargeFOVForSemanticSegmentation
from dense_hf.weak_segmentation.backbone_deeplab_largefov import build_resnet
from dense_hf.weak_segmentation.logits_deeplab_largefov import enlarge, segmentation_loss
from dense_hf.weak_segmentation.resnet_names import rename_torchvision_resnet


def test_number_of_parameters():
    """Counted by hand: bottlenecks are 1x1, 3x3, 1x1, the first of a stage has a 1x1 shortcut."""
    convolutions, norms, inputs = 3 * 64 * 49, 2 * 64, 64
    for width, depth in ((64, 3), (128, 4), (256, 23), (512, 3)):
        for block in range(depth):
            convolutions += inputs * width + 9 * width * width + 4 * width * width
            norms += 2 * (width + width + 4 * width)
            if block == 0:
                convolutions += inputs * 4 * width
                norms += 2 * 4 * width
            inputs = 4 * width
    head = 2048 * 1024 * 9 + 1024 * 1024 + 1024 * 21 + 21
    with torch.device("meta"):
        model = DeepLabLargeFOVForSemanticSegmentation(DeepLabLargeFOVConfig())
    assert sum(p.numel() for p in model.parameters()) == convolutions + head  # frozen norms are no parameters
    assert sum(b.numel() for b in model.buffers()) == 2 * norms


@pytest.mark.parametrize("size", [(321, 321), (65, 97), (64, 50)])
def test_output_stride_at_odd_sizes(size):
    with torch.no_grad():
        logits = tiny_segmenter()(torch.randn(1, 3, *size)).logits
    assert logits.shape[-2:] == tuple(math.ceil(side / 8) for side in size)
    assert enlarge(logits, size).shape[-2:] == size
    if size == (321, 321):
        assert_close(enlarge(logits, size)[..., ::8, ::8], logits)  # each logit stands on a pixel


@pytest.mark.parametrize("in_bottleneck", [True, False])
def test_dilation_only_makes_features_finer(in_bottleneck):
    """At every fourth place features of stride 8 are those of the ordinary network, stride 32 (à trous)."""
    fine = tiny_segmenter(downsample_in_bottleneck=in_bottleneck, output_stride=8).backbone
    coarse = tiny_segmenter(downsample_in_bottleneck=in_bottleneck, output_stride=32).backbone
    coarse.load_state_dict(fine.state_dict())
    pixels = torch.randn(1, 3, 97, 130)
    with torch.no_grad():
        assert_close(
            fine(pixels).feature_maps[-1][..., ::4, ::4], coarse(pixels).feature_maps[-1], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("dilated", [False, True])
def test_against_torchvision(dilated):
    """With the stride in the 3x3 convolution: the same features from the same weights."""
    torch.manual_seed(0)
    theirs = torchvision.models.resnet50(weights=None, replace_stride_with_dilation=[False, dilated, dilated]).eval()
    config = DeepLabLargeFOVConfig(
        resnet_depths=[3, 4, 6, 3], downsample_in_bottleneck=False, output_stride=8 if dilated else 32
    )
    ours = build_resnet(config).eval()
    state = {rename_torchvision_resnet(name): value for name, value in theirs.state_dict().items()}
    assert {name for name in state if name not in ours.state_dict()} == {"fc.weight", "fc.bias"}
    ours.load_state_dict({name: value for name, value in state.items() if not name.startswith("fc.")})
    pixels = torch.randn(1, 3, 65, 65)
    with torch.no_grad():
        wanted = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(pixels))))
        for stage in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            wanted = stage(wanted)
        assert_close(ours(pixels).feature_maps[-1], wanted, atol=1e-4, rtol=1e-4)


def test_frozen_norms_do_not_move():
    model = tiny_segmenter().train()
    before = {name: value.clone() for name, value in model.named_buffers()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(torch.randn(2, 3, 65, 65), torch.randint(0, 5, (2, 65, 65))).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    optimizer.step()
    after = dict(model.named_buffers())
    assert len(after) > 50
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_deeplabv3_trains_all_and_its_norms():
    model = tiny_segmenter(head="deeplabv3").train()
    before = {name: value.clone() for name, value in model.named_buffers() if "running" in name}
    model(torch.randn(2, 3, 65, 65), torch.randint(0, 5, (2, 65, 65))).loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in model.parameters())
    assert not any(torch.equal(before[name], value) for name, value in model.named_buffers() if name in before)


def test_loss_by_hand():
    logits = torch.randn(2, 3, 2, 3)
    labels = torch.tensor([[[0, 255, 2], [1, 1, 0]], [[255, 255, 255], [255, 2, 255]]])
    means = []
    for image in range(2):
        values = []
        for y in range(2):
            for x in range(3):
                if (label := labels[image, y, x].item()) != 255:
                    scores = logits[image, :, y, x].tolist()
                    values.append(math.log(sum(map(math.exp, scores))) - scores[label])
        means.append(sum(values) / len(values))
    assert segmentation_loss(logits, labels, 255).item() == pytest.approx(sum(means) / 2, rel=1e-5)


def test_nothing_but_ignored_pixels():
    model = tiny_segmenter().train()
    loss = model(torch.randn(1, 3, 33, 33), torch.full((1, 33, 33), 255)).loss
    loss.backward()
    assert loss.item() == 0
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (torch.full((1, 33, 33), 5), r"from 0 to 4.*Received: \[5\]"),
        (torch.full((1, 33, 33), -1), r"Received: \[-1\]"),
        (torch.zeros(1, 33, 33), "whole numbers"),
        (torch.zeros(33, 33, dtype=torch.long), r"shape \[33, 33\]"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    with pytest.raises(ValueError, match=message):
        tiny_segmenter()(torch.randn(1, 3, 33, 33), labels)
