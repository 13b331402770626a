"""What a small file beside a model tells of a prompt, before the model is loaded."""

import json

import pytest

from sdi_engine.diffusion.model_index import check_prompt
from sdi_engine.errors import BadInputError, EnvironmentMissingError


def write_model(folder, knows):
    folder.mkdir()
    (folder / "model_index.json").write_text("{}")
    (folder / "sdi_engine.json").write_text(json.dumps({"knows": knows}))
    return folder


def test_a_prompt_of_which_the_model_knows_no_word_is_refused(tmp_path):
    with pytest.raises(BadInputError, match=r'does not know any word of "a dragon".* airplane, bed, bird'):
        check_prompt("a dragon", "starter")
    check_prompt("a dragon on a red mug", "starter")
    folder = write_model(tmp_path / "small", {"things": ["dragon"]})
    check_prompt("a dragon", str(folder))
    (tmp_path / "small.safetensors").touch()
    for model in (folder, tmp_path / "small.safetensors"):
        with pytest.raises(BadInputError, match="one of the things that this one knows: dragon"):
            check_prompt("a red mug", str(model))


def test_other_models_may_know_all_words(tmp_path):
    check_prompt("a dragon", "owner/name")
    (tmp_path / "large.safetensors").touch()
    check_prompt("a dragon", str(tmp_path / "large.safetensors"))
    folder = write_model(tmp_path / "damaged", {})
    (folder / "sdi_engine.json").write_text("{")
    check_prompt("a dragon", str(folder))  # that it is damaged is told where it is loaded
    with pytest.raises(EnvironmentMissingError, match="does not exist"):
        check_prompt("a dragon", str(tmp_path / "nothing"))
