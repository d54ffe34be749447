"""Pseudo labels for the street video of `street_video.py`: a layout drawn by hand, and people who are what moves.

No human has labelled these frames. The camera never moves, so ground, buildings, parked cars and posts were outlined
once, by hand, on the median of the frames; a person is where a frame differs from that median. Both have faults: thin
things are coarse, a bag is part of who carries it, clothes of the color of the ground leave holes.

H x W: 576 x 768, a frame of the video; h x w: half of that, a frame of the data set; N frames.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

CLASSES = ("road", "grass", "building", "car", "post", "person")
NUMBERS = {name: number for number, name in enumerate(CLASSES, start=1)}
OTHERS, VOID = 0, 255  # the two numbers of VSPW that have no label
SIZE = (768, 576)  # that the outlines are drawn for

Outline = Sequence[tuple[int, int]]

# What lies on what, from the ground up; corners are (x, y). What no outline covers is road: asphalt, paths, parking.
LAYOUT: tuple[tuple[str, tuple[Outline, ...]], ...] = (
    (
        "grass",
        (
            (  # below the road
                (0, 240), (20, 242), (60, 250), (100, 257), (140, 261), (195, 267), (240, 281), (280, 292), (310, 304),
                (340, 319), (360, 327), (400, 344), (420, 353), (440, 362), (480, 379), (520, 396), (560, 412),
                (600, 429), (640, 446), (680, 464), (720, 483), (768, 503), (768, 576), (0, 576),
            ),
            (  # between the far footpath and the narrow one
                (0, 82), (60, 80), (80, 77), (100, 73), (120, 69), (140, 64), (160, 61), (180, 58), (200, 54),
                (220, 51), (250, 46), (283, 46), (283, 60), (305, 68), (305, 77), (280, 82), (240, 89), (200, 97),
                (160, 107), (120, 117), (80, 125), (43, 133), (0, 139),
            ),
            (  # between the narrow footpath and the parking places
                (305, 84), (303, 92), (272, 100), (290, 106), (330, 107), (360, 110), (400, 113), (440, 115),
                (500, 117), (560, 118), (600, 121), (625, 124), (628, 130), (612, 140), (590, 146), (560, 138),
                (530, 131), (502, 125), (470, 130), (440, 137), (424, 143), (404, 146), (424, 151), (380, 159),
                (362, 161), (350, 167), (330, 170), (300, 167), (280, 167), (240, 163), (200, 159), (160, 156),
                (120, 152), (80, 149), (50, 146), (24, 144), (60, 135), (100, 127), (140, 118), (180, 108),
                (200, 103), (240, 97), (280, 89),
            ),
            (  # right of the road
                (768, 164), (750, 179), (730, 191), (711, 207), (716, 222), (722, 238), (732, 249), (747, 262),
                (768, 276),
            ),
        ),
    ),
    (
        "building",
        (
            (
                (0, 0), (306, 0), (306, 38), (260, 35), (207, 37), (160, 47), (120, 58), (100, 64), (90, 67),
                (60, 70), (0, 70),
            ),
            (
                (306, 0), (768, 0), (768, 60), (735, 62), (722, 68), (655, 92), (637, 97), (632, 104), (600, 113),
                (575, 115), (500, 112), (400, 109), (330, 104), (312, 104), (306, 98),
            ),
        ),
    ),
    (
        "others",
        (
            ((283, 36), (305, 36), (306, 68), (283, 62)),  # fire escape
            (  # gravel and its kerbs
                (258, 213), (300, 186), (345, 172), (362, 162), (383, 162), (424, 183), (442, 196), (468, 198),
                (430, 206), (380, 209), (330, 212), (290, 214),
            ),
            ((37, 193), (39, 174), (46, 174), (50, 193)), ((163, 207), (167, 186), (175, 186), (179, 207)),  # cones
            ((291, 211), (295, 185), (303, 185), (308, 211)), ((439, 202), (442, 177), (449, 177), (456, 202)),
            ((161, 275), (164, 267), (176, 250), (187, 252), (193, 268), (181, 276)),  # stones
            ((597, 146), (598, 134), (603, 125), (608, 130), (612, 146)),
            ((694, 207), (697, 185), (704, 182), (710, 206)), ((699, 238), (707, 207), (712, 208), (717, 237)),
            ((740, 284), (750, 254), (756, 252), (766, 286)), ((735, 177), (740, 156), (749, 156), (754, 177)),
            ((758, 160), (762, 135), (768, 134), (768, 160)),
            ((432, 182), (445, 140), (444, 118), (450, 118), (451, 140), (465, 182)),  # tripods
            ((457, 470), (500, 380), (500, 338), (514, 338), (514, 380), (527, 482), (505, 455)),
            ((402, 165), (440, 172), (438, 182), (402, 172)),  # bag
            ((69, 528), (69, 516), (105, 497), (160, 498), (160, 510), (125, 527)),  # coats
            ((324, 452), (340, 450), (354, 460), (350, 468), (330, 466)),
            ((50, 293), (78, 292), (78, 301), (60, 303)), ((14, 329), (18, 320), (48, 315), (48, 326)),  # lids
            ((194, 75), (194, 63), (212, 63), (212, 75)), ((225, 83), (225, 48), (230, 48), (231, 83)),  # litter, tree
        ),
    ),
    (
        "car",
        (
            (
                (652, 90), (652, 70), (656, 55), (660, 47), (675, 45), (700, 44), (711, 46), (716, 56), (718, 63),
                (724, 64), (722, 69), (719, 72), (722, 80), (721, 91), (715, 92), (711, 88), (703, 88), (702, 97),
                (698, 100), (694, 98), (693, 91), (660, 91),
            ),
            ((735, 88), (734, 72), (737, 58), (743, 54), (745, 50), (768, 50), (768, 93), (740, 92)),
        ),
    ),
    (
        "post",
        (
            (  # lamp with the sign on its post
                (396, 33), (404, 28), (415, 26), (425, 25), (427, 20), (431, 18), (435, 21), (436, 28), (438, 31),
                (436, 36), (425, 38), (412, 36), (404, 36), (401, 38), (402, 42), (415, 68), (427, 88), (428, 102),
                (430, 104), (430, 110), (431, 203), (443, 203), (446, 243), (434, 243), (434, 338), (438, 345),
                (438, 391), (428, 391), (428, 340), (428, 243), (414, 243), (413, 203), (426, 203), (424, 110),
                (423, 102), (425, 100), (424, 90), (411, 68), (398, 42),
            ),
            ((586, 46), (604, 42), (612, 66), (605, 69), (613, 119), (610, 119), (601, 70), (592, 71)),
            (
                (745, 222), (748, 162), (760, 152), (760, 211), (757, 211), (757, 162), (751, 166), (749, 222),
            ),
            ((31, 121), (36, 114), (48, 112), (43, 119), (43, 139), (39, 139), (38, 121)),
        ),
    ),
)  # fmt: skip


def draw_layout() -> np.ndarray:
    """Numbers uint8 [h,w] of the scene without people."""
    canvas = Image.new("L", SIZE, NUMBERS["road"])
    draw = ImageDraw.Draw(canvas)
    for name, outlines in LAYOUT:
        for outline in outlines:
            draw.polygon([tuple(corner) for corner in outline], fill=NUMBERS.get(name, OTHERS))
    return np.asarray(canvas.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.NEAREST))


def halve(frame: np.ndarray) -> np.ndarray:
    """uint8 [H,W,3] -> [h,w,3], the mean of 2 x 2 pixels: less of the noise and of the seams of compression."""
    return np.asarray(Image.fromarray(frame).reduce(2))


def find_people(
    frame: np.ndarray,
    background: np.ndarray,
    weak: float = 20,
    clear: float = 34,
    strong: float = 60,
    least_area: int = 20,
) -> tuple[np.ndarray, np.ndarray]:
    """Where somebody is: blobs that differ clearly from the background, and in some place strongly.

    Args:
        frame: uint8 [h,w,3].
        background: median of frames, [h,w,3].
        weak, clear, strong: levels of 255, of the channel that differs most. The light changes by up to 9.
        least_area: pixels of the smallest person, who is far away.

    Returns:
        bool [h,w] people, and bool [h,w] where it is unsure: their borders, shadows of up to 6 pixels, and what is
        clear but too small or too thin for a person (the tape in the wind).
    """
    difference = np.abs(frame.astype(np.float32) - background).max(axis=2)
    moving = difference > clear
    core = ndimage.binary_opening(moving, structure=np.ones((3, 3)))  # wider than the tape
    people = moving & ndimage.binary_dilation(core, iterations=2)
    people = ndimage.binary_fill_holes(ndimage.binary_closing(people))
    blobs, count = ndimage.label(people, structure=np.ones((3, 3)))
    sizes = np.bincount(blobs.ravel(), minlength=count + 1)
    strong_sizes = np.bincount(blobs[difference > strong], minlength=count + 1)
    people = ((sizes >= least_area) & (strong_sizes >= least_area / 4))[blobs] & (blobs > 0)
    shadow = ndimage.maximum_filter(people, 13) & ndimage.binary_opening((difference > weak) | people)
    border = ndimage.binary_dilation(people) ^ ndimage.binary_erosion(people, border_value=1)
    return people, border | (shadow | moving) & ~people


def label_frame(frame: np.ndarray, background: np.ndarray, layout: np.ndarray) -> np.ndarray:
    """Numbers uint8 [h,w] of a frame: the layout, people on it, and `VOID` where it is unsure.

    What moves on or beside a parked car is unsure: its doors open too (from frame 755 on one does).

    Args:
        frame: uint8 [h,w,3].
        background: median of frames, [h,w,3].
        layout: of `draw_layout`, [h,w].
    """
    people, unsure = find_people(frame, background)
    near_cars = ndimage.maximum_filter(layout == NUMBERS["car"], 13)
    numbers = np.where(people, NUMBERS["person"], layout)
    return np.where(unsure | people & near_cars, VOID, numbers).astype(np.uint8)
