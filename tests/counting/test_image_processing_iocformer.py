"""Images of any kind in, points out; the scores and refusals of counting."""

import base64
import json
import logging
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace

import numpy as np
import programs
import pytest
import torch
from PIL import Image
from safetensors.numpy import load_file

from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor, count_image
from dense_hf.counting.rgb_reading import read_rgb, to_rgb
from dense_hf.data import open_image

FIXTURES = Path(__file__).parents[1] / "fixtures" / "iocformer"
GOLDEN = json.loads((FIXTURES / "data_golden.json").read_text())
GOLDEN_ARRAYS = load_file(FIXTURES / "data_golden.safetensors")
MEAN, STD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


class DotModel(torch.nn.Module):
    """Finds each pixel whose red is full and reports it at its centre, with one density cell per 4 x 4 pixels."""

    def __init__(self, num_queries=50):
        super().__init__()
        self.num_queries = num_queries
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.batches = []

    def forward(self, pixel_values):
        self.batches.append(tuple(pixel_values.shape))
        hits = pixel_values[:, 0] > (0.99 - MEAN[0]) / STD[0]
        size = pixel_values.shape[-1]
        logits = torch.full((len(hits), self.num_queries, 2), -9.0)
        points = torch.zeros(len(hits), self.num_queries, 3)
        for tile, hit in enumerate(hits):
            where = hit.nonzero()[: self.num_queries]
            logits[tile, : len(where), 1] = 9.0
            points[tile, : len(where), :2] = (where.flip(1) + 0.5) / size
        density = torch.nn.functional.avg_pool2d(hits.float()[:, None], 4, divisor_override=1)
        return SimpleNamespace(logits=logits, pred_points=points, density_map=density)


@pytest.fixture
def reef():
    """A picture of 90 x 70 with 12 red dots, and the dots (x, y)."""
    rng = np.random.default_rng(3)
    array = rng.integers(0, 200, (70, 90, 3), dtype=np.uint8)
    places = rng.permutation(70 * 90)[:12]
    array[places // 90, places % 90, 0] = 255
    return Image.fromarray(array), {(int(p % 90), int(p // 90)) for p in places}


@pytest.mark.parametrize("name", ["a.jpg", "b.jpg", "c.jpg"])
def test_released_pixels(name):
    """Every 16th pixel of the released patches is known: put them into an image and they must come out again."""
    released = GOLDEN_ARRAYS[f"{name}.patch_sub16"]
    height, width = GOLDEN["sizes_hw"][name]
    rows, columns, padded_height, padded_width, _, pad_w, pad_h = GOLDEN[name][
        "patch_info num_h,num_w,H,W,crop,pad_w,pad_h"
    ]
    padded = np.zeros((padded_height, padded_width, 3), np.uint8)
    known = np.round((released.transpose(0, 2, 3, 1) * STD + MEAN) * 255)
    for patch, values in enumerate(known):
        top, left = 256 * (patch // columns), 256 * (patch % columns)
        padded[top : top + 256 : 16, left : left + 256 : 16] = values.astype(np.uint8)
    inputs = IOCFormerImageProcessor()(Image.fromarray(padded[pad_h:, pad_w:]), return_tensors="pt")
    assert inputs["original_sizes"].tolist() == [[height, width]]
    assert inputs["pixel_values"].shape == (rows * columns, 3, 256, 256)
    np.testing.assert_allclose(inputs["pixel_values"][:, :, ::16, ::16], released, atol=1e-6)
    # the padding is the mean colour, exactly
    assert not inputs["pixel_values"][0, :, :pad_h].any()
    assert not inputs["pixel_values"][0, :, :, :pad_w].any()


def test_batches_of_tiles_are_the_tiles_of_the_call(reef):
    processor = IOCFormerImageProcessor(tile_size=32, tile_overlap=8)
    all_tiles = processor(reef[0], return_tensors="pt")["pixel_values"]
    batches = list(processor.iter_tiles(reef[0], batch_size=5))
    assert {len(batch) for batch in batches[:-1]} == {5}
    assert torch.equal(torch.cat(batches), all_tiles)
    with pytest.raises(ValueError, match="Received: 0"):
        list(processor.iter_tiles(reef[0], batch_size=0))


@pytest.mark.parametrize(("overlap", "batch_size"), [(0, 1), (0, 100), (8, 4)])
def test_count_image_finds_the_dots(reef, overlap, batch_size):
    image, dots = reef
    model = DotModel().train()
    seen = []
    result = count_image(
        model,
        IOCFormerImageProcessor(tile_size=32, tile_overlap=overlap),
        image,
        batch_size=batch_size,
        return_density_map=True,
        on_batch=seen.append,
    )
    assert {(int(x), int(y)) for x, y in result["points"].tolist()} == dots
    assert result["count"] == len(dots) == int(result["tile_counts"].sum())
    assert result["density_count"] == pytest.approx(len(dots))
    assert result["density_map"].shape == (70, 90)
    assert float(result["density_map"].sum()) == pytest.approx(len(dots))
    assert max(batch[0] for batch in model.batches) <= batch_size
    assert sum(seen) == len(result["tile_counts"])
    assert model.training  # given back as it came


def test_both_channels_are_counted_best_first_and_capped():
    """The released rule, spelled out with loops."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(6, 9, 2, generator=generator) * 3
    points = torch.rand(6, 9, 3, generator=generator)
    processor = IOCFormerImageProcessor(tile_size=16)
    for threshold in (0.0, 0.35, 0.9):
        (result,) = processor.post_process_object_counting(
            {"logits": logits, "pred_points": points}, [(30, 48)], threshold
        )
        candidates = []
        for tile in range(6):
            for query in range(9):
                for channel in range(2):
                    score = 1 / (1 + np.exp(-logits[tile, query, channel].item()))
                    x = points[tile, query, 0].item() * 16 + 16 * (tile % 3)
                    y = points[tile, query, 1].item() * 16 + 16 * (tile // 3) - 2
                    candidates.append((score, x, max(y, 0.0)))
        best = [c for c in sorted(candidates, key=lambda c: -c[0])[: 6 * 9] if c[0] >= threshold]
        assert result["count"] == len(best) == len(result["points"])
        np.testing.assert_allclose(result["scores"], [c[0] for c in best], atol=1e-6)
        np.testing.assert_allclose(result["points"], [c[1:] for c in best], atol=1e-4)


def test_points_of_the_padding_count_and_lie_inside_the_image():
    corners = torch.tensor([[[0.0, 0.0, 0], [1.0, 1.0, 0], [1.0, 0.0, 0]]])
    (result,) = IOCFormerImageProcessor().post_process_object_counting(
        {"logits": torch.full((1, 3, 2), 5.0) * torch.tensor([-1, 1]), "pred_points": corners}, [(100, 200)]
    )
    assert result["count"] == 3
    x, y = result["points"].T
    assert ((x >= 0) & (x < 200) & (y >= 0) & (y < 100)).all()
    assert result["points"].floor().tolist() == [[0, 0], [199, 99], [199, 0]]


def test_several_images_and_default_sizes(reef):
    processor = IOCFormerImageProcessor(tile_size=32)
    images = [reef[0], reef[0].crop((0, 0, 10, 10)), reef[0].rotate(90, expand=True)]
    inputs = processor(images, return_tensors="pt")
    outputs = DotModel()(inputs["pixel_values"])
    together = processor.post_process_object_counting(outputs, inputs["original_sizes"])
    for image, result in zip(images, together):
        alone = count_image(DotModel(), processor, image)
        assert torch.equal(alone["points"], result["points"])
    one_tile_each = processor.post_process_object_counting(outputs)
    assert len(one_tile_each) == len(inputs["pixel_values"])
    assert sum(r["count"] for r in one_tile_each) == sum(r["count"] for r in together)
    with pytest.raises(ValueError, match="Received: outputs of"):
        processor.post_process_object_counting(outputs, inputs["original_sizes"][:2])


@pytest.mark.parametrize("field", ["logits", "pred_points", "density_map"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_refused(field, value):
    outputs = {
        "logits": torch.zeros(2, 3, 2),
        "pred_points": torch.zeros(2, 3, 3),
        "density_map": torch.zeros(2, 1, 4, 4),
    }
    outputs[field].view(2, -1)[1, 2] = value
    with pytest.raises(ValueError, match=rf"{field} must be finite.*1 of 2 tiles"):
        IOCFormerImageProcessor().post_process_object_counting(outputs, [(256, 512)])


def test_density_alone_counts():
    density = torch.full((2, 1, 4, 4), 0.1)
    processor = IOCFormerImageProcessor()
    outputs = {"logits": None, "pred_points": None, "density_map": density}
    (result,) = processor.post_process_object_counting(outputs, [(256, 512)])
    assert result["count"] == 3
    assert result["density_count"] == pytest.approx(3.2)
    assert result["points"].shape == (0, 2)
    with pytest.raises(ValueError, match="Received: \\['logits'\\]"):
        processor.post_process_object_counting({"logits": torch.zeros(1, 3, 2)})
    with pytest.raises(ValueError, match="density branch"):
        processor.post_process_object_counting(
            {"logits": torch.zeros(1, 3, 2), "pred_points": torch.zeros(1, 3, 3)}, return_density_map=True
        )


def test_a_tile_near_the_query_limit_warns(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("dense_hf"), "propagate", True)
    processor = IOCFormerImageProcessor()
    points = torch.full((2, 10, 3), 0.5)
    for found, warned in ((8, 0), (9, 1)):
        logits = torch.full((2, 10, 2), -9.0)
        logits[1, :found, 1] = 9.0
        caplog.clear()
        (result,) = processor.post_process_object_counting({"logits": logits, "pred_points": points}, [(256, 512)])
        assert result["crowded_tiles"] == warned
        assert len([r for r in caplog.records if "1 of 2 tiles" in r.getMessage()]) == warned


def test_every_kind_of_image_gives_the_same_tiles(tmp_path, reef):
    gray = np.asarray(reef[0].convert("L"))
    rgb = np.stack([gray] * 3, -1)
    processor = IOCFormerImageProcessor(tile_size=32)
    expected = processor(Image.fromarray(rgb), return_tensors="pt")["pixel_values"]
    deep = gray.astype(np.uint16) * 257
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(deep).save(tmp_path / "deep.tiff")
    Image.fromarray(rgb).save(tmp_path / "rgb.png")
    turned = Image.fromarray(np.rot90(rgb).copy())
    exif = turned.getexif()
    exif[0x0112] = 6  # "rotate by 90 degrees to the right to see it upright"
    turned.save(tmp_path / "turned.png", exif=exif)
    palette = Image.fromarray(gray)
    palette.putpalette([v for i in range(256) for v in (i, i, i)])
    kinds = {
        "L": Image.fromarray(gray),
        "P": palette,
        "LA": Image.merge("LA", [Image.fromarray(gray), Image.new("L", (90, 70), 255)]),
        "RGBA": Image.fromarray(rgb).convert("RGBA"),
        "I;16": Image.fromarray(deep),
        "I": Image.fromarray(deep.astype(np.int32)),
        "path of 16 bits": str(tmp_path / "deep.png"),
        "path of 16 bits, TIFF": str(tmp_path / "deep.tiff"),
        "path": str(tmp_path / "rgb.png"),
        "path, turned": str(tmp_path / "turned.png"),
        "gray array": gray,
        "array": rgb,
        "array, channels first": rgb.transpose(2, 0, 1).copy(),
        "array of 16 bits": deep,
        "tensor": torch.tensor(rgb).permute(2, 0, 1),
    }
    for kind, image in kinds.items():
        tiles = processor(image, return_tensors="pt")["pixel_values"]
        assert torch.equal(tiles, expected), kind
        assert torch.equal(torch.cat(list(processor.iter_tiles(image))), expected), kind
    cmyk = processor(reef[0].convert("CMYK"), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(cmyk, processor(reef[0], return_tensors="pt")["pixel_values"], atol=0.02, rtol=0)


def test_transparency_is_dropped():
    image = Image.new("RGBA", (9, 7), (10, 20, 30, 0))
    assert to_rgb(image).getpixel((0, 0)) == (10, 20, 30)
    processor = IOCFormerImageProcessor()
    assert processor.to_pixels(np.asarray(image))[:, 0, 0].tolist() == [10, 20, 30]


def test_files_are_read_as_the_data_set_readers_read_them(tmp_path, reef):
    """The model is trained with what `dense_hf.data` reads, so it must be given the same."""
    gradient = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(gradient).save(tmp_path / "deep.png")
    reef[0].save(tmp_path / "turned.jpg", exif=exif)
    reef[0].convert("CMYK").save(tmp_path / "cmyk.jpg")
    reef[0].quantize(32).save(tmp_path / "palette.png", transparency=3)
    reef[0].convert("LA").save(tmp_path / "gray_alpha.png")
    for path in tmp_path.iterdir():
        assert np.array_equal(np.asarray(read_rgb(path)), np.asarray(open_image(path))), path.name


def test_floats_are_taken_at_their_word(reef, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("dense_hf"), "propagate", True)
    array = np.asarray(reef[0])
    expected = IOCFormerImageProcessor()(array, return_tensors="pt")["pixel_values"]
    bytes_as_floats = IOCFormerImageProcessor()(array.astype(np.float64), return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(bytes_as_floats, expected)
    scaled = (array / 255).astype(np.float32)
    tiles = IOCFormerImageProcessor(do_rescale=False)(scaled, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(tiles, expected, atol=1e-5, rtol=0)
    assert not caplog.records
    IOCFormerImageProcessor()(scaled, return_tensors="pt")
    assert "do_rescale=False" in caplog.text


@pytest.mark.parametrize(
    "image",
    [
        Image.new("F", (8, 8)),
        Image.fromarray(np.full((8, 8), 70000, np.int32)),
        np.zeros((8, 8, 3), np.int64),
    ],
)
def test_values_of_unknown_range_are_refused(image):
    with pytest.raises(ValueError, match="Received"):
        IOCFormerImageProcessor()(image, return_tensors="pt")


def test_unreadable_sources_are_named(tmp_path, reef):
    reef[0].save(tmp_path / "cut.jpg")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    (tmp_path / "text.png").write_text("not a picture")
    for source in (tmp_path / "cut.jpg", tmp_path / "text.png", tmp_path / "absent.png", str(tmp_path / "absent.png")):
        with pytest.raises(ValueError, match=source.name if isinstance(source, Path) else "absent"):
            read_rgb(source)


def test_images_behind_a_url(tmp_path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    gradient = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)
    Image.fromarray(gradient).save(tmp_path / "deep.png")
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *args: None)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        fetched = read_rgb(f"{address}/deep.png", timeout=20)
        with pytest.raises(ValueError, match=r"absent\.png.*404"):
            read_rgb(f"{address}/absent.png")
        server.shutdown()
    assert np.array_equal(np.asarray(fetched), np.asarray(open_image(tmp_path / "deep.png")))
    encoded = base64.b64encode((tmp_path / "deep.png").read_bytes()).decode()
    assert read_rgb(encoded).size == (64, 64)


def test_round_trip_and_bad_settings(tmp_path):
    processor = IOCFormerImageProcessor(tile_size=128, tile_overlap=16, image_mean=[0.1, 0.2, 0.3])
    processor.save_pretrained(tmp_path)
    loaded = IOCFormerImageProcessor.from_pretrained(tmp_path)
    assert loaded.to_dict() == processor.to_dict()
    assert (loaded.tile_size, loaded.tile_overlap) == (128, 16)
    assert IOCFormerImageProcessor.from_pretrained(tmp_path, tile_overlap=0).tile_overlap == 0
    with pytest.raises(ValueError, match="overlap"):
        IOCFormerImageProcessor(tile_size=64, tile_overlap=64)
    with pytest.raises(ValueError, match="tile"):
        IOCFormerImageProcessor()(Image.new("RGB", (8, 8)), tile_size=0)
    with pytest.raises(ValueError, match=r"count_by must be one of threshold, density\. Received: hand"):
        IOCFormerImageProcessor(count_by="hand")


@pytest.mark.slow
def test_the_files_work_beside_a_checkpoint_without_the_package(tmp_path, script_environment):
    """`trust_remote_code` on a machine that never installed dense_hf."""
    code = """
import sys
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor
IOCFormerImageProcessor.register_for_auto_class()
IOCFormerImageProcessor(tile_size=64).save_pretrained(sys.argv[1])
"""
    programs.run([sys.executable, "-c", code, tmp_path / "hub"], check=True, env=script_environment)
    code = """
import sys
sys.modules["dense_hf"] = None  # importing it would fail
from PIL import Image
from transformers import AutoImageProcessor
processor = AutoImageProcessor.from_pretrained(sys.argv[1], trust_remote_code=True)
print(processor(Image.new("RGB", (100, 70)), return_tensors="pt")["pixel_values"].shape)
"""
    without = {**script_environment, "PYTHONPATH": "", "HF_HOME": programs.empty_home()}
    command = [sys.executable, "-c", code, tmp_path / "hub"]
    done = programs.run(command, check=True, env=without, capture_output=True, text=True)
    assert "torch.Size([4, 3, 64, 64])" in done.stdout


@pytest.mark.slow
def test_a_photo_of_24_megapixels_counts_in_bounded_memory(script_environment):
    """The floats of all its tiles would be 302 MB more than those of one batch; the image itself is 72 MB of bytes."""
    code = """
import resource, sys, torch
from types import SimpleNamespace
from PIL import Image
from dense_hf.counting.image_processing_iocformer import count_image
from dense_hf.counting.image_processing_iocformer import IOCFormerImageProcessor

class Stub(torch.nn.Module):
    def forward(self, pixel_values):
        n = len(pixel_values)
        return SimpleNamespace(
            logits=torch.full((n, 700, 2), -9.0),
            pred_points=torch.rand(n, 700, 3),
            density_map=torch.rand(n, 1, 32, 32),
        )

torch.set_num_threads(1)
count_image(Stub(), IOCFormerImageProcessor(), Image.new("RGB", (600, 400)))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
image = Image.new("RGB", (6000, 4000))
image.load()
held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = count_image(Stub(), IOCFormerImageProcessor(), image)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(result["tile_counts"]), (held - before) // 1024, (after - held) // 1024)
"""
    command = [sys.executable, "-c", code]
    done = programs.run(command, check=True, capture_output=True, text=True, env=script_environment)
    tiles, image_megabytes, growth = map(int, done.stdout.split())
    assert tiles == 24 * 16
    assert image_megabytes < 120
    # measured 98 to 187: the bytes in channels-first order, the outputs, and what the allocator keeps
    assert growth < 250
