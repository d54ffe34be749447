"""A REST service of one model: `pip install dense_hf[service]`, then `dense-hf serve MODEL`.

limits.py     what a request may cost            documents.py   requests and answers, as OpenAPI tells them
model.py      the model, and who may use it      guard.py       what is refused before a body is read, or while
app.py        routes                             serving.py     a socket, signals, the end
metrics.py    numbers for Prometheus             refusals.py    why a request gets no answer
"""

from .app import create_app
from .limits import ServiceLimits
from .model import ServedModel
from .serving import serve

__all__ = ["ServedModel", "ServiceLimits", "create_app", "serve"]
