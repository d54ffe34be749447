"""The images of a split of a counting data set, checked before training starts."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from transformers.utils import logging

from ..data import open_image, read_ids, read_points
from ..errors import InvalidDataError


logger = logging.get_logger(__name__)
