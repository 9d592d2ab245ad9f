"""Tiny networks with random weights, of the families that people train: each with samples, and its loss in forward."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

SAMPLES = 6
WORDS = 31
_TEXT = {"vocab_size": WORDS, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1}
_HEADS = {"num_attention_heads": 2}


def _generator():
    return torch.Generator().manual_seed(1)


def _words(length=7):
    rows = torch.randint(3, WORDS, (SAMPLES, length), generator=_generator())
    return [{"input_ids": row, "labels": row} for row in rows]


def _images(size=32):
    images = torch.randn(SAMPLES, 3, size, size, generator=_generator())
    return [{"pixel_values": image, "labels": torch.tensor(number % 2)} for number, image in enumerate(images)]


class WithLoss(nn.Module):
    """A classifier whose forward returns its loss, as those of transformers do."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, pixel_values, labels):
        return {"loss": F.cross_entropy(self.net(pixel_values), labels)}


class Detection(nn.Module):
    """A detector of torchvision, whose forward in training returns its losses by name."""

    def __init__(self):
        from torchvision.models import detection
        from torchvision.ops import misc

        super().__init__()
        backbone = nn.Sequential(nn.Conv2d(3, 8, 3, 4, 1), misc.FrozenBatchNorm2d(8), nn.ReLU())
        backbone.out_channels = 8
        anchors = detection.anchor_utils.AnchorGenerator(((8, 16),), ((1.0,),))
        self.net = detection.RetinaNet(backbone, 2, min_size=32, max_size=32, anchor_generator=anchors)

    def forward(self, pixel_values, labels):
        boxes = torch.tensor([[4.0, 4.0, 20.0, 20.0]])
        targets = [{"boxes": boxes, "labels": label.reshape(1)} for label in labels]
        return {"loss": sum(self.net(list(pixel_values), targets).values())}


def bert():
    import transformers as t

    return t.BertForMaskedLM(t.BertConfig(**_TEXT, **_HEADS, max_position_embeddings=16)), _words()


def gpt2():
    import transformers as t

    return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=WORDS, n_positions=16, n_embd=8, n_layer=1, n_head=2)), _words()


def t5():
    import transformers as t

    config = t.T5Config(vocab_size=WORDS, d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2)
    config.decoder_start_token_id = 0
    return t.T5ForConditionalGeneration(config), _words()


def llama():
    import transformers as t

    return t.LlamaForCausalLM(t.LlamaConfig(**_TEXT, **_HEADS, num_key_value_heads=1)), _words()


def qwen3():
    import transformers as t

    return t.Qwen3ForCausalLM(t.Qwen3Config(**_TEXT, **_HEADS, num_key_value_heads=1, head_dim=8)), _words()


def mixtral():
    import transformers as t

    config = t.MixtralConfig(**_TEXT, **_HEADS, num_key_value_heads=1, num_local_experts=3, output_router_logits=True)
    return t.MixtralForCausalLM(config), _words()


def vit():
    import transformers as t

    config = t.ViTConfig(**{k: v for k, v in _TEXT.items() if k != "vocab_size"}, **_HEADS, image_size=32, patch_size=8)
    return t.ViTForImageClassification(config), _images()


def convnext():
    import transformers as t

    config = t.ConvNextConfig(hidden_sizes=[8, 8, 12, 12], depths=[1, 1, 1, 1])
    return t.ConvNextForImageClassification(config), _images()


def swin():
    import transformers as t

    config = t.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1, 1], num_heads=[1, 2], window_size=4)
    return t.SwinForImageClassification(config), _images()


def whisper():
    import transformers as t

    layers = {f"{part}_{what}": n for part in ("encoder", "decoder") for what, n in (("layers", 1), ("ffn_dim", 24))}
    heads = {f"{part}_attention_heads": 2 for part in ("encoder", "decoder")}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id"), 1) | {"decoder_start_token_id": 2}
    config = t.WhisperConfig(
        vocab_size=WORDS, d_model=16, num_mel_bins=8, max_source_positions=16, max_target_positions=16,
        suppress_tokens=None, begin_suppress_tokens=None, **layers, **heads, **tokens,
    )  # fmt: skip
    sounds = torch.randn(SAMPLES, 8, 32, generator=_generator())
    words = [sample["labels"] for sample in _words()]
    samples = [{"input_features": sound, "labels": row} for sound, row in zip(sounds, words, strict=True)]
    return t.WhisperForConditionalGeneration(config), samples


def lora(**options):
    import peft

    model, samples = llama()
    config = peft.LoraConfig(r=2, target_modules=["q_proj", "down_proj"], task_type="CAUSAL_LM", **options)
    return peft.get_peft_model(model, config), samples


def dora():
    return lora(use_dora=True)


def _timm(name, **options):
    import timm

    return WithLoss(timm.create_model(name, num_classes=2, **options)), _images()


def timm_resnet():
    return _timm("test_resnet")


def timm_vit():
    return _timm("vit_tiny_patch16_224", img_size=32, embed_dim=24, depth=1, num_heads=2)


def timm_efficientnet():
    return _timm("test_efficientnet")


def detection():
    return Detection(), _images()


ZOO = {
    made.__name__: made
    for made in (
        bert, gpt2, t5, llama, qwen3, mixtral, vit, convnext, swin, whisper, lora, dora,
        timm_resnet, timm_vit, timm_efficientnet, detection,
    )
}  # fmt: skip
