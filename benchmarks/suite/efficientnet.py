"""EfficientNet-Lite0 as transformers loads it: importing this module makes `AutoModel` know the model type.

The network is that of `efficientnet-lite-pytorch`, without its classifier: what remains is an encoder like any other.
"""

from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

CHANNELS = 1280


class EfficientNetLiteConfig(PretrainedConfig):
    """Which EfficientNet-Lite it is; everything else follows from the name."""

    model_type = "efficientnet-lite"

    def __init__(self, variant: str = "efficientnet-lite0", **rest: Any):
        self.variant = variant
        self.hidden_size, self.num_channels = CHANNELS, 3
        super().__init__(**rest)


class EfficientNetLiteModel(PreTrainedModel):
    """Convolutions up to the pooled features.

    Batch normalisation keeps the statistics of pretraining, in training mode too: statistics of a small task's batches
    would not be weights that can be merged.
    """

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig):
        super().__init__(config)
        self.network = EfficientNet.from_name(config.variant, drop_connect_rate=0.0)
        self.network._fc = nn.Identity()
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Keep the network's own initial values."""

    def train(self, mode: bool = True) -> "EfficientNetLiteModel":
        """Switch to training mode, all but batch normalisation."""
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutputWithPooling:
        """Return the features.

        Shape: `last_hidden_state` (image, channel, row, column), `pooler_output` (image, channel), their mean.
        """
        features = self.network.extract_features(pixel_values)
        return BaseModelOutputWithPooling(last_hidden_state=features, pooler_output=features.mean((2, 3)))


def from_pth(path: Any) -> EfficientNetLiteModel:
    """Return the model with the weights of the classifier that was saved at `path`, without its last layer."""
    model = EfficientNetLiteModel(EfficientNetLiteConfig(dtype="float32"))
    saved = torch.load(path, map_location="cpu", weights_only=True)
    kept = {name: tensor for name, tensor in saved.items() if not name.startswith("_fc.")}
    model.network.load_state_dict(kept)
    return model.eval()


AutoConfig.register(EfficientNetLiteConfig.model_type, EfficientNetLiteConfig, exist_ok=True)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteModel, exist_ok=True)
