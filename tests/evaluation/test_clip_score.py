import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_models import tiny_tokenizer
from transformers import CLIPConfig, CLIPModel

from sdi_engine.errors import BadInputError
from sdi_engine.evaluation.clip_score import ClipScore

PROMPTS = ("a red mug", "a blue hat", "a long snake under a table of wood that is far longer than the model can read")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    """A CLIP model with random weights."""
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    narrow = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {**narrow, "vocab_size": 2 + 2 * (127 - 33), "max_position_embeddings": 24, "eos_token_id": 1}
    vision = {**narrow, "image_size": 32, "patch_size": 16}
    CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=8)).save_pretrained(folder)
    tiny_tokenizer(folder / "vocabulary").save_pretrained(folder)
    return folder


@pytest.fixture
def pictures():
    return torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))


def test_similarities_are_those_of_transformers(clip_folder, pictures):
    score = ClipScore(clip_folder, PROMPTS)
    assert score.size == 32
    model = CLIPModel.from_pretrained(clip_folder)
    words = tiny_tokenizer(clip_folder / "vocabulary")([*PROMPTS], padding=True, truncation=True, return_tensors="pt")
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    with torch.no_grad():
        said = model(**words, pixel_values=(pictures - mean) / deviation)
    expected = (said.logits_per_image / model.logit_scale.exp()).mean(dim=0).detach()
    torch.testing.assert_close(score.similarities(pictures), expected)


def test_one_prompt_of_the_list_fits_best(clip_folder, pictures):
    score = ClipScore(clip_folder, PROMPTS)
    judged = [score.judge(pictures, prompt) for prompt in PROMPTS]
    best = int(score.similarities(pictures).argmax())
    assert [one["clip_r"] for one in judged] == [float(index == best) for index in range(3)]
    assert judged[best]["clip"] == max(one["clip"] for one in judged) <= 100.0
    assert min(one["clip"] for one in judged) >= 0.0


def test_a_folder_without_a_model(tmp_path):
    with pytest.raises(BadInputError, match="does not contain a CLIP model"):
        ClipScore(tmp_path, PROMPTS)
    with pytest.raises(BadInputError, match="does not contain a CLIP model"):
        ClipScore(tmp_path / "nowhere", PROMPTS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda held: held.pop("visual_projection.weight"), r'lacks "visual_projection.weight": give a whole one'),
        (lambda held: held["text_projection.weight"].fill_(float("nan")), "NaN or infinite"),
    ],
)
def test_weights_that_are_not_all_there_make_no_score(change, said, clip_folder, tmp_path):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    held = load_file(folder / "model.safetensors")
    change(held)
    save_file(held, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(BadInputError, match=said):
        ClipScore(folder, PROMPTS)


def test_a_weight_file_that_is_cut_off_and_an_empty_tokenizer_are_refused(clip_folder, tmp_path):
    cut, empty = (shutil.copytree(clip_folder, tmp_path / name) for name in ("cut", "empty"))
    whole = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInputError, match="does not contain a CLIP model"):
        ClipScore(cut, PROMPTS)
    for file in empty.glob("*"):
        if "token" in file.name or file.name in ("vocab.json", "merges.txt"):
            file.unlink()
    with pytest.raises(BadInputError, match=r"does not contain a CLIP model|knows no words"):
        ClipScore(empty, PROMPTS)
