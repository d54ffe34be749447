"""The routes: `/image`, `/images` and, of a model that segments, `/video`; `/health`, `/metrics`, `/openapi.json`."""

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from .. import __version__
from .documents import (
    Count,
    CountPicture,
    CountPictures,
    Health,
    Localization,
    LocalizePicture,
    LocalizePictures,
    Problem,
    Segmentation,
    SegmentPicture,
    SegmentPictures,
    SegmentVideo,
)
from .guard import Guard
from .metrics import Metrics
from .model import ServedModel
from .refusals import Refusal, sentence_of

_MULTIPART = Form(media_type="multipart/form-data")
_REFUSED = {
    400: "The body is no form.",
    408: "The body came too slowly.",
    413: "The body is too large.",
    415: "The body is no multipart/form-data.",
    422: "A field, a picture or a video cannot be.",
    500: "A fault of the service; its log tells more.",
    503: "Too much to do, or the model is being loaded. The header Retry-After says when to come again.",
    504: "It takes longer than a request may.",
}
_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "description": told} for status, told in _REFUSED.items()
}


def create_app(model: ServedModel) -> FastAPI:
    """The service of a model. It answers 503 until `model.load()` is done."""
    app = FastAPI(
        title="dense_hf",
        version=__version__,
        description=f"One model for {model.task}.",
        docs_url=None,  # their pages fetch scripts of others
        redoc_url=None,
    )
    routes = {
        "object-counting": _counting_routes,
        "video-semantic-segmentation": _segmentation_routes,
        "weakly-supervised-segmentation": _localization_routes,
    }
    uploads = routes[model.task](model)
    paths = {getattr(route, "path", "") for route in uploads.routes}
    metrics = Metrics(
        paths | {"/health", "/metrics", "/openapi.json"},
        lambda: model.computing,
        lambda: model.waiting,
        lambda: model.status == "ready",
    )
    app.include_router(uploads)

    @app.get("/health", responses={503: {"model": Health, "description": "It is not ready."}})
    async def health(response: Response) -> Health:
        """Whether requests are answered."""
        response.status_code = 200 if model.status == "ready" else 503
        return Health(status=model.status, task=model.task, version=__version__)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def numbers() -> Response:
        """Numbers for Prometheus."""
        return Response(metrics.text(), media_type=metrics.content_type)

    @app.exception_handler(HTTPException)
    async def refuse(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": sentence_of(error.detail)}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_form(request: Request, error: RequestValidationError) -> JSONResponse:
        return JSONResponse({"error": _wrong_field(error.errors())}, 422)

    @app.exception_handler(Exception)
    async def fail(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse({"error": "The service failed; its log says why."}, 500)

    app.add_middleware(Guard, model=model, metrics=metrics, uploads=paths)
    return app


def _counting_routes(model: ServedModel) -> APIRouter:
    routes = APIRouter(responses=_PROBLEMS)

    @routes.post("/image", response_model_exclude_unset=True)
    async def image(request: Request, form: Annotated[CountPicture, _MULTIPART]) -> Count:
        """Count the objects of a picture."""
        return (await _pictures(model, request, form, [form.image], _threshold(form.threshold)))[0]

    @routes.post("/images", response_model_exclude_unset=True)
    async def images(request: Request, form: Annotated[CountPictures, _MULTIPART]) -> list[Count]:
        """Count the objects of pictures."""
        return await _pictures(model, request, form, form.images, _threshold(form.threshold))

    return routes


def _segmentation_routes(model: ServedModel) -> APIRouter:
    routes = APIRouter(responses=_PROBLEMS)

    @routes.post("/image", response_model_exclude_unset=True)
    async def image(request: Request, form: Annotated[SegmentPicture, _MULTIPART]) -> Segmentation:
        """Segment a picture."""
        return (await _pictures(model, request, form, [form.image], {}))[0]

    @routes.post("/images", response_model_exclude_unset=True)
    async def images(request: Request, form: Annotated[SegmentPictures, _MULTIPART]) -> list[Segmentation]:
        """Segment pictures, each on its own."""
        return await _pictures(model, request, form, form.images, {})

    @routes.post("/video", response_model_exclude_unset=True)
    async def video(request: Request, form: Annotated[SegmentVideo, _MULTIPART]) -> list[Segmentation]:
        """Segment the frames of a video."""
        await _check_once(request, form)
        given = form.model_dump(include={"every", "max_frames"}, exclude_unset=True)
        return await model.video(form.video.file.read, given)

    return routes


def _localization_routes(model: ServedModel) -> APIRouter:
    routes = APIRouter(responses=_PROBLEMS)

    @routes.post("/image", response_model_exclude_unset=True)
    async def image(request: Request, form: Annotated[LocalizePicture, _MULTIPART]) -> Localization:
        """Find classes in a picture."""
        return (await _pictures(model, request, form, [form.image], _labels(form.labels)))[0]

    @routes.post("/images", response_model_exclude_unset=True)
    async def images(request: Request, form: Annotated[LocalizePictures, _MULTIPART]) -> list[Localization]:
        """Find classes in pictures that are compared with each other."""
        return await _pictures(model, request, form, form.images, _labels(form.labels))

    return routes


async def _pictures(
    model: ServedModel, request: Request, form: BaseModel, files: Sequence[UploadFile], parameters: Mapping[str, Any]
) -> list[Any]:
    await _check_once(request, form)
    contents: list[Callable[[], bytes]] = [file.file.read for file in files]
    return await model.pictures(contents, dict(parameters))


async def _check_once(request: Request, form: BaseModel) -> None:
    """Nothing, if no field has been sent again that has one value: only the last would count."""
    sent = await request.form()
    several = {name for name, value in form if isinstance(value, list)}
    if again := [name for name in type(form).model_fields if name not in several and len(sent.getlist(name)) > 1]:
        raise Refusal(422, f"{again[0]} is sent once. Received: {len(sent.getlist(again[0]))} times")


def _threshold(given: list[float]) -> dict[str, Any]:
    return {"threshold": given[0] if len(given) == 1 else given} if given else {}


def _labels(given: list[str]) -> dict[str, Any]:
    """Of each picture the names of its classes, as in the tables of `dense-hf localize`."""
    names = [[name.strip() for name in text.split(";") if name.strip()] for text in given]
    return {"labels": names} if names else {}


def _wrong_field(errors: Sequence[Mapping[str, Any]]) -> str:
    """What is wrong with the fields of a form, the first three of them."""
    told = []
    for error in errors[:3]:
        name = ".".join(str(part) for part in error["loc"][1:]) or "form"
        received = f". Received: {error['input']!r:.100}" if isinstance(error.get("input"), str) else ""
        told.append(f"{name:.100}: {error['msg']}{received}")
    return sentence_of("; ".join(told))
