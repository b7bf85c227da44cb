"""llama.cpp computes from GGUF exports what transformers computes, token by token, at the size of the plan."""

import json
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import xllamacpp
from conftest import build_tiny
from families import BY_LAYER, TEXT, WIDTHS, build, build_sentencepiece, cut, split_as
from gguf import GGMLQuantizationType, GGUFReader, TokenType, dequantize, quantize
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
from torch.nn.functional import gelu, pad
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerFast

from hfprune.errors import HfpruneError
from hfprune.exports import Quantization
from hfprune.exports.gguf import export_gguf, require_gguf
from hfprune.models.load import load_model
from hfprune.models.units import count_parameters, gated_mlps
from hfprune.plans.plan import apply_plan, make_plan
from hfprune.plans.rules import Allocation


class LlamaCpp:
    """llama.cpp, with nothing in it that rounds."""

    def __init__(self, file: Path) -> None:
        params = xllamacpp.CommonParams()
        params.model.path = str(file)
        params.n_ctx, params.n_parallel, params.warmup, params.fit_params = 256, 1, False, False
        params.verbosity = -1
        params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
        params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
        params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.server = xllamacpp.Server(params)

    def log_probabilities(self, text: str, token: int, times: int, vocabulary: int) -> np.ndarray:
        """Return those of the next token [times, vocabulary], after a text and ever more repeats of `token`."""
        # The bias decides what is taken, not what is reported. Incomplete characters would not be reported at all.
        asked = {"n_predict": times, "n_probs": vocabulary, "logit_bias": [[token, 1000]]}
        found = np.full((times, vocabulary), -np.inf)
        for row, step in zip(found, self._asked(text, asked), strict=True):
            for entry in step["top_logprobs"]:
                row[entry["id"]] = entry["logprob"]
        return found

    def continued(self, text: str, count: int) -> list[int]:
        """Return the greedy continuation of a text."""
        return [
            step["id"] for step in self._asked(text, {"n_predict": count, "n_probs": 1, "ignore_eos": True})
        ]

    def _asked(self, text: str, settings: dict) -> list[dict]:
        answer = self.server.handle_completions({"prompt": text, "temperature": 0} | settings)
        answer = answer if isinstance(answer, dict) else json.loads(answer)
        return answer["choices"][0]["logprobs"]["content"]


def weights(file: Path) -> dict[str, str]:
    return {tensor.name: tensor.tensor_type.name for tensor in GGUFReader(file).tensors}


def assert_same(
    model: PreTrainedModel, source: Path, file: Path, text: str = TEXT, **tolerance: float
) -> None:
    """Check every log-probability after a text, which llama.cpp tokenises itself, and along five more tokens."""
    tokenizer = AutoTokenizer.from_pretrained(source)
    prompt, more = tokenizer(text).input_ids, tokenizer.convert_tokens_to_ids("e")
    found = LlamaCpp(file).log_probabilities(text, more, 5, model.config.vocab_size)
    logits = model(torch.tensor([prompt + [more] * 4])).logits[0, len(prompt) - 1 :]
    np.testing.assert_allclose(found, logits.log_softmax(-1).numpy(), **tolerance)


@pytest.mark.parametrize(
    ("family", "shape", "architecture"),
    [
        ("llama3", "equal", "llama"),
        ("llama3", "unequal", "deci"),
        ("mistral", "equal", "llama"),
        ("mistral", "unequal", "deci"),
        ("qwen2", "equal", "qwen2"),
        ("qwen2", "unequal", "deci"),
        ("qwen3", "equal", "qwen3"),
        ("qwen3", "unequal", "openelm"),
    ],
)
def test_same_tokens_and_logits_at_the_size_of_the_plan(
    dense, tmp_path: Path, family: str, shape: str, architecture: str
) -> None:
    model = cut(build(family), WIDTHS[shape])
    written = export_gguf(model, dense(family), tmp_path / "out")
    assert written.parameters == count_parameters(model)
    reader = GGUFReader(written.file)
    assert reader.get_field("general.architecture").contents() == architecture
    stored = sum(int(t.n_elements) for t in reader.tensors if t.name != "rope_freqs.weight")
    assert stored == count_parameters(model)
    assert_same(model, dense(family), written.file, rtol=0, atol=1e-4)


def test_an_unequal_qwen3_that_no_architecture_has_is_padded(dense, tmp_path: Path) -> None:
    model = cut(build_tiny("qwen3", vocab_size=410, tie_word_embeddings=False), WIDTHS["unequal"])
    written = export_gguf(model, dense("qwen3"), tmp_path / "out")
    assert written.parameters == count_parameters(model) + (3 * 40 - sum(WIDTHS["unequal"])) * 3 * 32
    assert_same(model, dense("qwen3"), written.file, rtol=0, atol=1e-4)


class LlamaCppGELU(torch.nn.Module):
    """GELU as llama.cpp has it: a table of numbers of 16 bits."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return gelu(x.half().float(), approximate="tanh").half().float()


@pytest.mark.parametrize("shape", ["equal", "unequal"])
def test_gemma_has_its_norms_windows_ropes_and_sentencepiece(dense, tmp_path: Path, shape: str) -> None:
    model = cut(build("gemma3"), WIDTHS[shape])
    written = export_gguf(model, dense("gemma3"), tmp_path / "out")
    assert (
        written.parameters == count_parameters(model) + (3 * max(WIDTHS[shape]) - sum(WIDTHS[shape])) * 3 * 32
    )
    for layer in model.model.layers:
        layer.mlp.act_fn = LlamaCppGELU()
    assert_same(model, dense("gemma3"), written.file, rtol=0, atol=1e-4)
    low = export_gguf(model.to(torch.bfloat16), dense("gemma3"), tmp_path / "low")
    (norm,) = [it.data for it in GGUFReader(low.file).tensors if it.name == "output_norm.weight"]
    assert (norm == model.model.norm.weight.float().numpy() + 1).all(), "no rounding of the sum"


@pytest.mark.parametrize(
    "changes",
    [
        {"final_logit_softcapping": 2.5},
        {"layer_types": ["full_attention"] * 3},
        {"layer_types": ["sliding_attention"] * 3},
    ],
    ids=str,
)
def test_a_gemma_of_another_kind(dense, tmp_path: Path, changes: dict) -> None:
    model = build("gemma3", **changes)
    written = export_gguf(model, dense("gemma3"), tmp_path / "out")
    for layer in model.model.layers:
        layer.mlp.act_fn = LlamaCppGELU()
    assert_same(model, dense("gemma3"), written.file, rtol=0, atol=1e-4)


# Where a text begins with a space, and after a special token, `Metaspace` puts no space, and llama.cpp does.
@pytest.mark.parametrize(
    ("like", "text"),
    [
        *(
            (like, text)
            for like in ("gemma", "llama-4", "llama-5")
            for text in (TEXT, "a  b   c\t\U0001f600")
        ),
        ("gemma", "  two spaces\n    four"),
        *((like, " \u2581 e\u0301</s>x") for like in ("gemma", "llama-4")),
    ],
)
def test_sentencepiece_has_the_same_tokens(tmp_path: Path, like: str, text: str) -> None:
    (tmp_path / "source").mkdir()
    build_sentencepiece(like).save_pretrained(tmp_path / "source")
    model = cut(build("mistral"), WIDTHS["unequal"])
    written = export_gguf(model, tmp_path / "source", tmp_path / "out")
    assert_same(model, tmp_path / "source", written.file, text, rtol=0, atol=1e-4)


def test_added_tokens_of_sentencepiece(tmp_path: Path) -> None:
    """Spaces in them are spaces, and those without a row in the model are left out."""
    tokenizer = build_sentencepiece()
    rows = len(tokenizer) + 2
    for content in ("\u2581\u2581\u2581", "<image>", "<beyond>"):
        tokenizer.add_tokens(AddedToken(content, normalized=False, special=content == "<beyond>"))
    (tmp_path / "source").mkdir()
    tokenizer.save_pretrained(tmp_path / "source")
    model = build("mistral", vocab_size=rows)
    written = export_gguf(model, tmp_path / "source", tmp_path / "out")
    fields = GGUFReader(written.file).fields
    tokens, kinds = (fields[f"tokenizer.ggml.{name}"].contents()[-2:] for name in ("tokens", "token_type"))
    assert (tokens, kinds) == (["   ", "<image>"], [TokenType.USER_DEFINED] * 2)
    assert_same(model, tmp_path / "source", written.file, "a b<image>c", rtol=0, atol=1e-4)


def test_biases_linear_rope_and_three_heads(dense, tmp_path: Path) -> None:
    """transformers has no config for such a LLaMA."""
    rope = {"rope_type": "linear", "rope_theta": 700.0, "factor": 4.0}
    heads = {"attention_bias": True, "num_key_value_heads": 4}
    model = build_tiny("llama-bias", vocab_size=410, rope_parameters=rope, **heads)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    plan = {f"mlp.{layer}": torch.arange(30 - layer) for layer in range(3)}
    apply_plan(model, plan | {f"attention.{layer}": torch.tensor([0, 1, 3]) for layer in range(3)})
    written = export_gguf(model, dense("llama3"), tmp_path / "out")
    assert_same(model, dense("llama3"), written.file, rtol=0, atol=1e-4)


def test_rows_must_be_whole_blocks_to_be_quantised(dense, tmp_path: Path) -> None:
    """With `align` they are; without it those matrices stay in 16 bits, which is said."""
    model = cut(build("llama3"), WIDTHS["unequal"])
    plain = export_gguf(model, dense("llama3"), tmp_path / "plain", quantize="Q8_0")
    whole = export_gguf(model, dense("llama3"), tmp_path / "whole", quantize="Q8_0", align=32)
    assert (plain.wide, whole.wide) == (3, 0)
    assert whole.parameters > plain.parameters == count_parameters(model)
    assert {weights(plain.file)[f"blk.{layer}.ffn_down.weight"] for layer in range(3)} == {"F16"}
    assert set(weights(whole.file).values()) == {"Q8_0", "F32"}
    assert "3 matrices stay in 16 bits" in (tmp_path / "plain/README.md").read_text()
    for written in (plain, whole):
        assert_same(model, dense("llama3"), written.file, rtol=0, atol=0.3)


def round_weights(model: PreTrainedModel, kind: GGMLQuantizationType) -> None:
    """Give every matrix the values that it has in a type of GGUF, whose blocks of 32 are filled up with zeros."""
    for parameter in model.parameters():
        if parameter.dim() == 2:
            whole = pad(parameter, (0, -parameter.shape[1] % 32)).numpy()
            values = torch.from_numpy(dequantize(quantize(whole, kind), kind).copy())
            parameter.copy_(values[:, : parameter.shape[1]])


@pytest.mark.parametrize("kind", get_args(Quantization))
def test_each_type_is_read_by_llama_cpp(dense, tmp_path: Path, kind: str) -> None:
    model = cut(build("qwen2"), WIDTHS["unequal"])
    written = export_gguf(model, dense("qwen2"), tmp_path / "out", quantize=kind, align=32)
    assert written.file.name == f"out-{kind}.gguf"
    assert set(weights(written.file).values()) == {kind, "F32"}
    round_weights(model, GGMLQuantizationType[kind])
    # llama.cpp also rounds what it multiplies with weights of few bits.
    assert_same(model, dense("qwen2"), written.file, rtol=0, atol=1e-4 if kind == "F32" else 0.3)


def test_the_type_is_the_models_own_where_none_is_asked_for(dense, tmp_path: Path) -> None:
    model = cut(build("qwen2"), WIDTHS["unequal"])
    for dtype, kind in ((torch.float16, "F16"), (torch.bfloat16, "BF16")):
        written = export_gguf(model.to(dtype), dense("qwen2"), tmp_path / kind)
        assert set(weights(written.file).values()) == {kind, "F32"}


def test_a_real_model_pruned_globally_continues_as_in_transformers(smollm2: Path, tmp_path: Path) -> None:
    model = load_model(smollm2, device=torch.device("cpu"))
    total = count_parameters(model)
    generator = torch.Generator().manual_seed(0)
    scores = {
        mlp.name: torch.rand(mlp.count, generator=generator) * (1 + i)
        for i, mlp in enumerate(gated_mlps(model))
    }
    apply_plan(model, make_plan(model, scores, 0.2, allocation=Allocation(rule="global")))
    written = export_gguf(model, smollm2, tmp_path / "out", quantize="F16")
    assert written.parameters == count_parameters(model) == pytest.approx(0.8 * total, rel=1e-3)
    assert written.file.stat().st_size == pytest.approx(2 * written.parameters, rel=0.02)
    assert len({mlp.count for mlp in gated_mlps(model)}) > 10
    tokenizer, server = AutoTokenizer.from_pretrained(smollm2), LlamaCpp(written.file)
    for text in (
        "The capital of France is",
        "def add(a, b):\n    return",
        "It's 7,500 km \u2013 \u0435\u0449\u0451 123",
    ):
        tokens = tokenizer(text, return_tensors="pt").input_ids
        ends = {"max_new_tokens": 12, "do_sample": False, "pad_token_id": 2, "eos_token_id": None}
        expected = model.generate(tokens, attention_mask=torch.ones_like(tokens), **ends)[
            0, tokens.shape[1] :
        ]
        assert server.continued(text, 12) == expected.tolist()


def test_what_gguf_cannot_hold_is_refused_by_name(dense, tmp_path: Path) -> None:
    def refusal(model: PreTrainedModel, source: Path) -> str:
        with pytest.raises(HfpruneError) as error:
            export_gguf(model, source, tmp_path / "out")
        assert "\n" not in str(error.value)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["split"], "nothing is left"
        return str(error.value)

    (tmp_path / "split").mkdir()
    assert "supports llama, mistral, qwen2, qwen3, gemma3_text, not phi3" in refusal(
        build("phi3"), dense("llama3")
    )
    scaled = build("gemma3")
    scaled.config.query_pre_attn_scalar = 32
    assert "scaled by the size of a head (16), not by 32" in refusal(scaled, dense("gemma3"))
    yarn = {"rope_type": "yarn", "rope_theta": 1e4, "factor": 4.0, "original_max_position_embeddings": 64}
    assert "no rope scaling yarn" in refusal(build_tiny("qwen2", rope_parameters=yarn), dense("qwen2"))
    both = {kind: {"rope_type": "linear", "rope_theta": 1e4, "factor": 4.0} for kind in BY_LAYER}
    assert "in layers with a window" in refusal(build("gemma3", rope_parameters=both), dense("gemma3"))
    assert "the tokenizer has token 399, the model 97 embeddings" in refusal(
        build_tiny("qwen2", vocab_size=97), dense("qwen2")
    )
    tokenizer = split_as("qwen2")
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save_pretrained(tmp_path / "split")
    assert "(unknown WhitespaceSplit) that is none of llama-bpe" in refusal(
        build("qwen2"), tmp_path / "split"
    )

    def changed(**changes: object) -> str:
        known = json.loads(build_sentencepiece().backend_tokenizer.to_str())
        known |= changes | {"model": known["model"] | changes.get("model", {})}
        backend = Tokenizer.from_str(json.dumps(known))
        PreTrainedTokenizerFast(tokenizer_object=backend).save_pretrained(tmp_path / "split")
        said = refusal(build("gemma3"), tmp_path / "split")
        with pytest.raises(HfpruneError) as early:
            require_gguf(build("gemma3"), tmp_path / "split")
        assert str(early.value) == said
        return said

    merges = json.loads(build_sentencepiece().backend_tokenizer.to_str())["model"]["merges"]
    assert "does not merge as SentencePiece" in changed(model={"merges": merges[::2] + merges[1::2]})
    assert "does not merge as SentencePiece" in changed(model={"merges": merges[1:]})
    assert "not this SentencePiece" in changed(normalizer={"type": "Lowercase"})
    assert "not this SentencePiece" in changed(pre_tokenizer={"type": "Whitespace"})
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.Unigram([("a", 0.0)], 0, True)))
    tokenizer.save_pretrained(tmp_path / "split")
    assert "not this SentencePiece" in refusal(build("gemma3"), tmp_path / "split")


@pytest.mark.parametrize("family", ["llama3", "qwen2", "qwen3"])
def test_layers_with_other_numbers_of_heads_are_padded(dense, tmp_path: Path, family: str) -> None:
    model = build(family)
    plan = {f"mlp.{layer}": torch.arange(30 - layer) for layer in range(3)}
    apply_plan(
        model,
        plan
        | {"attention.0": torch.tensor([1])}
        | dict.fromkeys(("attention.1", "attention.2"), torch.arange(2)),
    )
    whole = cut(build(family), [30, 29, 28])
    written = export_gguf(model, dense(family), tmp_path / "out")
    assert written.parameters == count_parameters(whole) > count_parameters(model)
    assert_same(model, dense(family), written.file, rtol=0, atol=1e-4)


def test_a_bias_that_was_solved_is_read_where_llama_cpp_has_it(dense, tmp_path: Path) -> None:
    """FLAP's, of down_proj and o_proj alone, which Qwen2 does not have in transformers."""

    def biased(family: str) -> PreTrainedModel:
        model = cut(build(family), WIDTHS["equal"])
        for layer in model.model.layers:
            for linear in (layer.mlp.down_proj, layer.self_attn.o_proj):
                linear.bias = torch.nn.Parameter(torch.randn(linear.out_features), requires_grad=False)
        return model

    written = export_gguf(model := biased("qwen2"), dense("qwen2"), tmp_path / "out")
    assert_same(model, dense("qwen2"), written.file, rtol=0, atol=1e-4)
    with pytest.raises(HfpruneError, match="Qwen3 has no bias at down_proj or o_proj"):
        export_gguf(biased("qwen3"), dense("qwen3"), tmp_path / "qwen3")
