"""Requests and answers of the service, as its OpenAPI document tells them. Answers are those of `export/handler.py`.

`segmentation` and `maps` are the base64 of PNG files whose gray values are labels, or how much speaks for a class.
"""

from typing import Annotated, Literal

from fastapi import UploadFile
from pydantic import BaseModel, ConfigDict, Field

_PICTURE = "a JPEG, PNG, TIFF, BMP, WebP or AVIF file with one picture"
_PICTURES = "files of pictures; the field is repeated"
_THRESHOLD = "the least score that counts; repeated, one of each class; without it, that of the model"


class _Form(BaseModel):
    model_config = ConfigDict(extra="forbid")


Threshold = Annotated[list[Annotated[float, Field(ge=0, le=1)]], Field(description=_THRESHOLD)]
Names = Annotated[str, Field(max_length=10_000)]


class CountPicture(_Form):
    """A picture whose objects are counted."""

    image: Annotated[UploadFile, Field(description=_PICTURE)]
    threshold: Threshold = []


class CountPictures(_Form):
    """Pictures whose objects are counted."""

    images: Annotated[list[UploadFile], Field(description=_PICTURES, min_length=1)]
    threshold: Threshold = []


class SegmentPicture(_Form):
    """A picture that is segmented."""

    image: Annotated[UploadFile, Field(description=_PICTURE)]


class SegmentPictures(_Form):
    """Pictures that are segmented, each on its own."""

    images: Annotated[list[UploadFile], Field(description=_PICTURES, min_length=1)]


class SegmentVideo(_Form):
    """A video whose frames are segmented."""

    video: Annotated[UploadFile, Field(description="a video file, such as MP4 or WebM")]
    every: Annotated[int, Field(ge=1, le=10**6, description="only every so manieth frame; 1 for all")] = 1
    max_frames: Annotated[
        int | None, Field(ge=1, description="frames that are segmented; without it all, or none if there are too many")
    ] = None


class LocalizePicture(_Form):
    """A picture in which classes are found."""

    image: Annotated[UploadFile, Field(description=_PICTURE)]
    labels: Annotated[
        list[Names],
        Field(description='names of its classes, "cat;dog" or ""; without it, those found', max_length=1),
    ] = []


class LocalizePictures(_Form):
    """Related pictures, which are compared with each other."""

    images: Annotated[list[UploadFile], Field(description=_PICTURES, min_length=1)]
    labels: Annotated[
        list[Names],
        Field(
            description='of each picture the names of its classes, "cat;dog" or ""; without it, those that are found'
        ),
    ] = []


class Point(BaseModel):
    """An object: pixels from the upper left corner, and how sure the model is."""

    x: float
    y: float
    score: float
    label: str = Field("", description="its class, of a model with several")


class Count(BaseModel):
    """What is counted in a picture."""

    count: int
    points: list[Point] = Field(description="best score first; none of a model with a density map only")
    density_count: float | None = Field(description="sum of the density map")
    class_counts: dict[str, int] = Field({}, description="of a model with several classes")
    range: tuple[int | float, int | float] = Field((0, 0), description="of a calibrated model, around the count")
    level: float = Field(0, description="share of pictures whose number of objects is in the range")
    unlike: list[str] = Field([], description="in what the picture is unlike those of the calibration")


class Segmentation(BaseModel):
    """The class of every pixel of a picture or a frame."""

    frame: int = Field(description="from 0; 0 of a picture")
    segmentation: str | None = Field(description="PNG of the labels; none of a damaged frame")
    class_statistics: dict[str, float] = Field(description="share of each class that occurs")
    error: str = Field("", description="why a frame is damaged")


class Localization(BaseModel):
    """Where the classes of a picture are."""

    labels: list[str]
    segmentation: str = Field(description="PNG: 0 background, class + 1, 255 undecided")
    maps: dict[str, str] = Field(description="of each class a PNG, 255 where the evidence is strongest")
    class_statistics: dict[str, float] = Field(description="share of each class, and of background")
    remark: str = Field("", description="why nothing is decided")


class Health(BaseModel):
    """Whether requests are answered."""

    status: Literal["loading", "ready", "stopping"]
    task: str
    version: str = Field(description="of dense_hf")


class Problem(BaseModel):
    """Why there is no answer."""

    error: str
