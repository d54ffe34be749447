"""Outputs, losses, two steps of training, maps and pseudo labels against numbers of the released code."""

import numpy as np
import pytest
import torch
from PIL import Image
from released_mcis import OUTPUTS, golden, meta_of, model_of, official_state_dict, part
from torch.testing import assert_close

from dense_hf import MCISConfig, MCISForImageClassification, convert_original_checkpoint
from dense_hf.training.classifier.dataset import collate_pairs
from dense_hf.training.classifier.options import MCISTrainingArguments
from dense_hf.training.classifier.trainer import MCISTrainer
from dense_hf.weak_segmentation import (
    ImageGroup,
    Localizer,
    MCISImageProcessor,
    aggregate_maps,
    make_pseudo_label,
    resize_map,
)
from dense_hf.weak_segmentation.convert_mcis import rename

pytestmark = pytest.mark.no_cover

CLOSE = {"atol": 1e-4, "rtol": 0}
TERMS = {
    "loss_basic": "basic",
    "loss_co_attention": "co",
    "loss_contrastive": "contrast1",
    "loss_paired_contrastive": "contrast2",
} | {
    f"loss_view_{view}_{ours}": f"aug{view}_{theirs}"
    for view in range(3)
    for ours, theirs in (("basic", "basic"), ("co_attention", "co"))
}

PAIR = {
    "image1": "pixel_values",
    "image2": "paired_pixel_values",
    "label1": "labels",
    "label2": "paired_labels",
}


@pytest.mark.parametrize("case", ["same", "unequal"])
def test_narrow_classifier(case):
    tensors = golden(f"classifier_tiny_{case}")
    model = model_of(tensors)
    inputs = part(tensors, "in")
    pixels = inputs["image1"], inputs["image2"]
    outputs = model(*pixels, inputs["label1"], inputs["label2"])
    for theirs, ours in OUTPUTS.items():
        assert_close(outputs[ours], tensors[f"out/{theirs}"], atol=2e-5, rtol=0)
    features = outputs.last_hidden_state, outputs.paired_last_hidden_state
    assert_close(features[0], tensors["mid/feature1"], **CLOSE)
    assert_close(model.co_attention.affinity(*features), tensors["mid/affinity"], **CLOSE)
    for index, (common, own) in enumerate(zip(model.co_attention(*features), features), start=1):
        assert_close(common, tensors[f"mid/coatt{index}"], **CLOSE)
        gate = tensors[f"mid/gate{index}"]
        assert_close(model.contrastive_features(own, common), own * (1 - gate), **CLOSE)
    for name, value in outputs.loss_dict.items():
        assert value.item() == pytest.approx(tensors[f"loss/{TERMS[name]}"].item(), abs=1e-5)
    assert outputs.loss.item() == pytest.approx(tensors["loss/total"].item(), abs=1e-5)
    outputs.loss.backward()
    gradients = {name: parameter.grad for name, parameter in model.named_parameters()}
    for name, expected in rename(part(tensors, "grad")).items():
        assert_close(gradients[name], expected, atol=1e-4 * expected.abs().max().item(), rtol=1e-4)


@pytest.fixture(scope="module")
def real_size(tmp_path_factory):
    """A checkpoint of real size as the authors write it."""
    state_dict = {f"module.{name}": tensor for name, tensor in official_state_dict().items()}
    path = tmp_path_factory.mktemp("released") / "mcis_epoch_10.pth"
    torch.save({"epoch": 10, "global_counter": 23287, "state_dict": state_dict, "optimizer": {"state": {}}}, path)
    return convert_original_checkpoint(path, "mcis")


def test_classifier_of_real_size_from_pixels(real_size):
    tensors = golden("classifier_fullwidth")
    checksums = meta_of("classifier_fullwidth")["checksums"]
    weights = official_state_dict()
    assert {name: weights[name].double().sum().item() for name in checksums} == pytest.approx(checksums, abs=1e-3)
    processor = MCISImageProcessor(size={"height": 64, "width": 64})
    images = [tensors[f"in/image{index}_u8"].permute(2, 0, 1) for index in (1, 2)]
    pixels = processor(images, return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        outputs = real_size(pixels[:1], pixels[1:])
    assert_close(outputs.last_hidden_state, tensors["mid/feature1"], **CLOSE)
    for theirs, ours in OUTPUTS.items():
        assert_close(outputs[ours], tensors[f"out/{theirs}"], **CLOSE)


def test_parameters(real_size):
    released = meta_of("state_dict")
    assert real_size.num_parameters() == released["total_parameters"] == 22_077_268
    assert len(real_size.state_dict()) == len(released["tensors"]) == 37
    with torch.device("meta"):
        assert MCISForImageClassification(MCISConfig()).num_parameters() == 22_077_268


@pytest.mark.parametrize("case", ["epoch0", "epoch2", "epoch2_wd"])
def test_two_steps_of_training(case):
    tensors, meta = golden(f"train_step_{case}"), meta_of(f"train_step_{case}")
    model = model_of(tensors).train()
    parameters = dict(model.named_parameters())
    groups = [
        {
            "params": [parameters[ours] for name in names for ours in rename({name: tensors[f"weights/{name}"]})],
            "lr": meta["lr"] * float(factor.removeprefix("lr x")),
        }
        for factor, names in meta["groups"].items()
    ]
    assert sum(len(group["params"]) for group in groups) == len(parameters)
    optimizer = torch.optim.SGD(groups, momentum=0.9, nesterov=True, weight_decay=meta["weight_decay"])
    inputs = part(tensors, "in")
    for step in range(2):
        outputs = model(
            inputs["image1"],
            inputs["image2"],
            labels=inputs["label1"],
            paired_labels=inputs["label2"],
            view_pixel_values=[inputs["flip"], inputs["small"], inputs["large"]],
            epoch=meta["epoch"],
        )
        released = part(tensors, f"step{step}/loss")
        used = [name in outputs.loss_dict for name in ("loss_contrastive", "loss_paired_contrastive")]
        assert used == meta["contrast_used"]
        assert len(outputs.loss_dict) == 8 + sum(used)
        for name, value in outputs.loss_dict.items():
            assert value.item() == pytest.approx(released[TERMS[name]].item(), abs=1e-5), name
        assert outputs.loss.item() == pytest.approx(released["total"].item(), abs=1e-5)
        optimizer.zero_grad()
        outputs.loss.backward()
        optimizer.step()
    for name, expected in rename(part(tensors, "after2")).items():
        assert_close(parameters[name].detach(), expected, atol=1e-6, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize("case", ["epoch0", "epoch2", "epoch2_wd"])
def test_two_steps_of_our_trainer(case, tmp_path):
    """The same numbers, by `MCISTrainer.train` from samples on: two epochs of one batch."""
    tensors, meta = golden(f"train_step_{case}"), meta_of(f"train_step_{case}")
    inputs = part(tensors, "in")

    class Samples(torch.utils.data.Dataset):
        def __getitem__(self, key):
            pair = {name: inputs[theirs][key[1]] for theirs, name in PAIR.items()}
            views = [inputs[name][key[1]] for name in ("flip", "small", "large")]
            return pair | {"view_pixel_values": views, "epoch": meta["epoch"]}

        def __len__(self):
            return len(inputs["image1"])

    trainer = MCISTrainer(
        model=model_of(tensors),
        args=MCISTrainingArguments(
            output_dir=str(tmp_path),
            num_train_epochs=2,
            per_device_train_batch_size=len(Samples()),
            learning_rate=meta["lr"],
            weight_decay=meta["weight_decay"],
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_steps=1,
        ),
        train_dataset=Samples(),
        data_collator=collate_pairs,
        processing_class=MCISImageProcessor(),
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert len(logs) == 2
    for step, entry in enumerate(logs):
        released = part(tensors, f"step{step}/loss")
        assert entry["loss"] == pytest.approx(released["total"].item(), abs=1e-5)
        for name in set(TERMS) & set(entry):
            assert entry[name] == pytest.approx(released[TERMS[name]].item(), abs=1e-5), name
        assert len(set(TERMS) & set(entry)) == 8 + sum(meta["contrast_used"])
    parameters = dict(trainer.model.named_parameters())
    for name, expected in rename(part(tensors, "after2")).items():
        assert_close(parameters[name].detach(), expected, atol=1e-6, rtol=0, msg=lambda m, name=name: f"{name}: {m}")


def test_processor():
    tensors, processor = golden("processor"), MCISImageProcessor()
    for name, expected in tensors.items():
        if name.endswith("image_u8"):
            continue
        case, side = name.split("/px")
        pixels = tensors[f"{case}/image_u8"]
        for image in (Image.fromarray(pixels.numpy()), pixels.numpy(), pixels.permute(2, 0, 1)):
            size = {"height": int(side), "width": int(side)}
            ours = processor(image, size=size, return_tensors="pt")["pixel_values"][0]
            assert torch.equal(ours, expected)
    assert [MCISImageProcessor(size={"height": 64, "width": 64}).view_size(scale)["width"] for scale in (0.75, 2)] == [
        48,
        128,
    ]


def test_localisation():
    tensors, meta = golden("localisation"), meta_of("localisation")
    pictures = {"image": tensors["in/image_u8"]}
    labels, references = {"image": meta["labels"]}, {}
    for class_id in meta["labels"]:
        references[class_id] = [f"ref_{class_id}_{index}" for index in range(3)]
        for name in references[class_id]:
            pictures[name], labels[name] = tensors[f"in/{name}_u8"], [class_id]
    group = ImageGroup(labels, lambda name: Image.fromarray(pictures[name].numpy()))
    model, processor = model_of(tensors), MCISImageProcessor()
    with Localizer(model, processor, group) as localizer:
        maps = localizer.maps("image", references=references)
    assert sorted(maps) == meta["labels"]
    for class_id, ours in maps.items():
        names = ["flip_1", "flip_2", "small", "large", "merged"]
        assert_close(ours, torch.stack([tensors[f"out/{name}"][0, class_id] for name in names]), **CLOSE)
        assert_close(ours[-1], tensors[f"out/co_mean_{class_id}"][0, class_id], **CLOSE)
        assert ours.mean(dim=(1, 2)).sigmoid().tolist() == pytest.approx(
            meta["gate_prob_of_each_map"][str(class_id)], abs=1e-5
        )
        attention = aggregate_maps(ours)
        assert np.array_equal(attention, tensors[f"out/att32_{class_id}"].numpy())
        resized = resize_map(attention, pictures["image"].shape[:2]).astype(int)
        assert np.abs(resized - tensors[f"out/att_{class_id}"].numpy()).max() <= 1
    with torch.no_grad():
        pixels = processor(Image.fromarray(pictures["image"].numpy()), return_tensors="pt")["pixel_values"]
        assert_close(model(pixels).activation_maps, tensors["out/single_cam"], **CLOSE)


@pytest.mark.parametrize("case", range(6))
def test_aggregation(case):
    tensors = golden("aggregate")
    assert np.array_equal(aggregate_maps(tensors[f"case{case}/maps"]), tensors[f"case{case}/att"].numpy())


@pytest.mark.parametrize("image", [name for name, case in meta_of("pseudo_label").items() if "histogram" in case])
def test_pseudo_labels(image):
    tensors = {name: tensor.numpy() for name, tensor in part(golden("pseudo_label"), image).items()}
    attention = {int(name.removeprefix("att_")): map_ for name, map_ in tensors.items() if name.startswith("att_")}
    label = make_pseudo_label(attention, tensors["saliency"], num_labels=20)
    assert label.dtype == np.uint8
    assert np.array_equal(label, tensors["label"])
    values, counts = np.unique(label, return_counts=True)
    found = {str(value): count for value, count in zip(values.tolist(), counts.tolist())}
    assert found == meta_of("pseudo_label")[image]["histogram"]
