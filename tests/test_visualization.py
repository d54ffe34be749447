"""Overlays: of the size of the image; dots where the points are, light where the density is, colors of labels."""

import numpy as np
import pytest
from PIL import Image

from dense_hf.visualization import draw_attention, draw_density, draw_labels, draw_points, draw_timeline, label_palette
from dense_hf.visualization.labels import legend_lines


def colors_around(picture, x, y, reach):
    return np.asarray(picture)[y - reach : y + reach + 1, x - reach : x + reach + 1].reshape(-1, 3).astype(int)


@pytest.mark.parametrize("background", ["black", "white", "yellow", (30, 110, 140)])
@pytest.mark.parametrize("size", [(320, 240), (3000, 2000)])
def test_a_dot_is_seen_on_any_background(background, size):
    image = Image.new("RGB", size, background)
    x, y = size[0] // 3, size[1] // 2
    picture = draw_points(image, np.array([[x + 0.5, y + 0.5]]), "1 object")
    assert picture.size == size
    assert picture.getpixel((x, y)) == (255, 214, 10)
    around = colors_around(picture, x, y, max(6, size[1] // 50))
    assert around.sum(1).min() < 100  # its dark ring
    assert around.sum(1).max() > 550  # its light ring
    assert np.array_equal(colors_around(picture, x, size[1] - 60, 20), colors_around(image, x, size[1] - 60, 20))
    assert not np.array_equal(
        np.asarray(picture)[: size[1] // 10, : size[0] // 10], np.asarray(image)[: size[1] // 10, : size[0] // 10]
    )  # the label


def test_dots_are_centred_and_may_touch_the_border():
    points = [[0.0, 0.0], [99.9, 79.9], [50.0, 40.0]]
    difference = np.asarray(draw_points(Image.new("RGB", (100, 80)), points)).any(-1)
    rows, columns = np.nonzero(difference[20:60, 20:80])
    np.testing.assert_allclose([columns.mean() + 20.5, rows.mean() + 20.5], [50, 40], atol=0.6)
    assert difference[0, 0]
    assert difference[79, 99]


def test_no_points_and_wrong_points():
    image = Image.new("L", (30, 20), 7)
    assert np.array_equal(np.asarray(draw_points(image, [])), np.asarray(image.convert("RGB")))
    with pytest.raises(ValueError, match=r"Received: \(2, 3\)"):
        draw_points(image, np.zeros((2, 3)))
    with pytest.raises(ValueError, match="finite"):
        draw_points(image, np.array([[np.nan, 1.0]]))


def test_density_glows_where_it_is():
    density = np.zeros((300, 400), np.float32)
    density[100:140, 300:340] = 5 / 1600
    image = Image.fromarray(np.full((300, 400, 3), 120, np.uint8))
    picture = np.asarray(draw_density(image, density, "5.0")).astype(int)
    assert picture.shape == (300, 400, 3)
    assert picture[120, 320].sum() > 500  # the bright end of the colors
    assert np.ptp(picture[60, 200]) == 0  # gray and darker where nothing is
    assert picture[60, 200, 0] < 120
    assert np.ptp(picture[230:, :150], axis=-1).max() > 150  # the colors of the legend


def test_attention_glows_where_it_is():
    attention = np.zeros((300, 400), np.uint8)
    attention[100:140, 300:340] = 255
    image = Image.fromarray(np.full((300, 400, 3), 120, np.uint8))
    picture = np.asarray(draw_attention(image, attention, "person")).astype(int)
    assert picture[120, 320].sum() > 500
    assert np.ptp(picture[200, 200]) == 0
    assert picture[200, 200, 0] < 120
    assert picture[:40, :120].max() > 200  # the name, in the corner that is free
    with pytest.raises(ValueError, match=r"300 x 400. Received: float64 300 x 400"):
        draw_attention(image, attention / 255)
    with pytest.raises(ValueError, match=r"Received: uint8 400 x 300"):
        draw_attention(image, attention.T)


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (40, 500)])
def test_any_size_can_be_drawn(size):
    image = Image.new("RGB", size)
    assert draw_attention(image, np.zeros(size[::-1], np.uint8), "a").size == size
    assert draw_points(image, [[0.5, 0.5]], "1").size == size
    assert draw_density(image, np.zeros(size[::-1], np.float32), "0").size == size


def test_density_of_another_size_is_refused():
    with pytest.raises(ValueError, match=r"20 x 30.*Received: 30 x 20"):
        draw_density(Image.new("RGB", (30, 20)), np.zeros((30, 20), np.float32))


def test_text_goes_where_it_hides_less():
    image = Image.new("RGB", (400, 300), (30, 110, 140))
    left, right = (slice(0, 20), slice(0, 40)), (slice(0, 20), slice(360, 400))
    for points, free in (([[5, 5]], right), ([[395, 5]], left)):
        picture = np.asarray(draw_points(image, points, "1 object"))
        assert (picture[free].astype(int).sum(-1) < 100).any()  # the panel
    density = np.zeros((300, 400), np.float32)
    density[250:, :100] = 1e-3
    picture = np.asarray(draw_density(image, density, "5.0")).astype(int)
    assert np.ptp(picture[230:, 250:], axis=-1).max() > 150  # the legend is at the right


def test_colors_of_labels_differ():
    palette = label_palette(124)
    assert palette.dtype == np.uint8
    assert palette.shape == (124, 3)
    assert np.array_equal(palette[:19], label_palette(19))
    # redmean, a plain approximation of how far apart two colors look (0 to 765), knows nothing of CIELAB
    colors = palette.astype(float)
    red = (colors[:, None, 0] + colors[None, :, 0]) / 2
    squares = (colors[:, None] - colors[None]) ** 2
    weights = np.stack([2 + red / 256, np.full_like(red, 4), 2 + (255 - red) / 256], axis=-1)
    distance = np.sqrt((weights * squares).sum(-1)) + 1000 * np.eye(124)
    assert distance.min() > 20
    assert distance[:8, :8].min() > 120
    assert np.ptp(palette, axis=1).min() > 30  # no grays
    assert len(label_palette(5000)) == 5000
    with pytest.raises(ValueError, match="Received: 0"):
        label_palette(0)


def test_labels_tint_the_image():
    image = Image.new("RGB", (60, 40), (100, 100, 100))
    labels = np.zeros((40, 60), np.int64)
    labels[:, 30:] = 1
    labels[:10, :10] = 255
    palette = np.array([[255, 0, 0], [0, 0, 255]], np.uint8)
    picture = np.asarray(draw_labels(image, labels, palette=palette, opacity=0.5)).astype(int)
    np.testing.assert_allclose(picture[30, 10], (178, 50, 50), atol=2)
    np.testing.assert_allclose(picture[30, 50], (50, 50, 178), atol=2)
    np.testing.assert_allclose(picture[30, 29], (255, 0, 0), atol=2)  # the border of the two
    np.testing.assert_allclose(picture[5, 5], (100, 100, 100))  # no label
    assert np.array_equal(draw_labels(image, labels, palette=palette, opacity=0), image)
    assert draw_labels(image.convert("L"), labels).mode == "RGB"
    with pytest.raises(ValueError, match=r"40 x 60.*Received: 60 x 40"):
        draw_labels(image, labels.T)
    with pytest.raises(ValueError, match=r"Received: 1\.5"):
        draw_labels(image, labels, opacity=1.5)


@pytest.mark.parametrize("size", [(176, 144), (640, 480), (1920, 1080), (1080, 1920)])
def test_the_legend_names_the_largest_labels(size):
    """Each listed class has a patch of its full color in the panel, and white text beside it."""
    lines = legend_lines(size)
    assert lines >= 5
    names = [f"a class with the name {number}" for number in range(40)]
    labels = np.full(size[::-1], 39)
    labels[-30:, -30:] = np.repeat(np.arange(30), 30).reshape(30, 30)  # each much smaller
    palette = label_palette(40)
    picture = np.asarray(draw_labels(Image.new("RGB", size), labels, names, opacity=0.5))
    panel = picture[: int(0.65 * size[1]), : int(0.42 * size[0])]
    numbers, counts = np.unique(panel.astype(int) @ (65536, 256, 1), return_counts=True)
    large = set(numbers[counts >= 20].tolist())
    shown = {label for label, number in enumerate(palette.astype(int) @ (65536, 256, 1)) if number in large}
    assert 39 in shown
    assert len(shown) == lines
    assert (panel.min(-1) > 200).sum() > 20 * lines
    chosen = np.asarray(draw_labels(Image.new("RGB", size), labels, names, opacity=0.5, legend=[3, 1]))
    rows = [
        np.nonzero((chosen[: size[1] // 2, : size[0] // 3] == palette[label]).all(-1))[0].mean() for label in (3, 1)
    ]
    assert rows[0] < rows[1]


@pytest.mark.parametrize("size", [(1, 1), (7, 3), (40, 500), (33, 20)])
def test_labels_of_any_size_can_be_drawn(size):
    labels = np.zeros(size[::-1], np.uint8)
    assert draw_labels(Image.new("RGB", size), labels, ["wall"]).size == size


def test_a_timeline_has_the_shares_of_each_frame():
    """Each column of the plot, counted by color, is the frame below it."""
    palette = np.array([[200, 0, 0], [0, 200, 0], [0, 0, 200]], dtype=np.uint8)
    shares = np.array([[1, 0, 0], [0.25, 0.75, 0], [np.nan] * 3, [0, 0, 1]])
    picture = np.asarray(draw_timeline(shares, ["road", "grass", "car"], palette, (600, 200)))
    plot = (picture[..., None, :] == palette).all(-1)
    rows, columns = np.nonzero(plot[:, :300].any(-1))
    top, bottom, left = rows.min(), rows.max() + 1, columns.min()
    right = int(np.nonzero(plot[bottom - 1].any(-1))[0].max()) + 1
    for frame in (0, 1, 3):
        column = left + round((frame + 0.5) / 4 * (right - left))
        found = plot[top:bottom, column].mean(axis=0)
        np.testing.assert_allclose(found, shares[frame], atol=1.5 / (bottom - top))
    assert plot[bottom - 1, left + round(1.5 / 4 * (right - left)), 0]  # the first label at the bottom
    assert not plot[top:bottom, left + round(2.5 / 4 * (right - left))].any()


def test_the_marker_of_a_timeline_moves_and_wrong_timelines_are_refused():
    palette = label_palette(2)
    shares = np.full((10, 2), 0.5)
    pictures = [np.asarray(draw_timeline(shares, ["a", "b"], palette, marker=place)) for place in (None, 0, 9)]
    places = [np.nonzero((pictures[0] != other).any(axis=(0, 2)))[0].mean() for other in pictures[1:]]
    assert places[0] < 200
    assert places[1] > 700
    for wrong in (np.zeros((0, 2)), np.zeros((3, 4)), np.zeros(2)):
        with pytest.raises(ValueError, match=r"shares must be \[T, 2\]"):
            draw_timeline(wrong, ["a", "b"], palette)
    with pytest.raises(ValueError, match="room for a plot"):
        draw_timeline(shares, ["a", "b"], palette, (60, 20))
