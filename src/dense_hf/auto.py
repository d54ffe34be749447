"""Registration with the Auto classes of transformers. Importing this module is what `import dense_hf` does first."""

from transformers import AutoConfig

from .counting.configuration_iocformer import IOCFormerConfig


AutoConfig.register(IOCFormerConfig.model_type, IOCFormerConfig)
