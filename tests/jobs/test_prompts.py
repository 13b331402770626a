"""Lists of prompts, as editors and other programs write them."""

import pytest
from sdi_text_to_3d.jobs.prompts import read_prompts
from sdi_text_to_3d.sdi_engine.errors import BadInputError
from sdi_text_to_3d.sdi_engine.system import untrusted


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_list_is_read_as_any_editor_saves_it(mark, end, tmp_path):
    lines = [b"# mine", b"a red mug", b"", b"\t ", b"  a red mug  ", b" # not now", '"a grün mug"'.encode(), b"a\ttab"]
    (tmp_path / "list.txt").write_bytes(mark + end.join(lines))
    assert read_prompts(tmp_path / "list.txt") == ["a red mug", "a red mug", '"a grün mug"', "a\ttab"]


def test_a_long_list_is_read_whole(tmp_path):
    (tmp_path / "list.txt").write_text("a red mug\n" * 10_000)
    assert len(read_prompts(tmp_path / "list.txt")) == 10_000


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "has no prompts: write one per line"),
        (b"\xef\xbb\xbf# none\r\n", "has no prompts"),
        ("a café".encode("latin-1"), "is not UTF-8 text: save it as UTF-8"),
        ("a red mug".encode("utf-16"), "is not UTF-8 text"),
        ("a red mug".encode("utf-16-le"), "is not UTF-8 text"),
        (bytes(100), "is not UTF-8 text"),
    ],
)
def test_what_is_no_list_is_refused_in_a_sentence(content, sentence, tmp_path):
    (tmp_path / "list.txt").write_bytes(content)
    with pytest.raises(BadInputError, match=sentence):
        read_prompts(tmp_path / "list.txt")


def test_of_a_huge_file_no_more_is_read_than_a_list_can_have(monkeypatch, tmp_path):
    monkeypatch.setattr(untrusted, "MAX_LIST_BYTES", 10)
    (tmp_path / "list.txt").write_bytes(b"a red mug\n")
    assert read_prompts(tmp_path / "list.txt") == ["a red mug"]
    (tmp_path / "list.txt").write_bytes(b"a red mug\n#")
    with pytest.raises(BadInputError, match="too large for a list"):
        read_prompts(tmp_path / "list.txt")


def test_a_folder_and_a_file_that_is_not_there_are_no_lists(tmp_path):
    with pytest.raises(BadInputError, match="is a folder: choose the text file"):
        read_prompts(tmp_path)
    with pytest.raises(BadInputError, match="cannot be read"):
        read_prompts(tmp_path / "none.txt")
