import sys
from types import SimpleNamespace

import pytest

from sdi_engine.system import memory


@pytest.mark.skipif(sys.platform != "linux", reason="containers with such limits run Linux")
def test_a_container_has_the_memory_that_its_limit_leaves(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    total, free = memory.memory_bytes()
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("0\n")
    assert memory.memory_bytes()[0] == total
    (tmp_path / "memory.max").write_text(f"{total // 2}\n")
    (tmp_path / "memory.current").write_text(f"{total // 2 - 2**20}\n")
    (tmp_path / "memory.stat").write_text("anon 1\ninactive_file 4096\n")  # the file cache is given up on demand
    assert memory.memory_bytes() == (total // 2, 2**20 + 4096)
    assert free > 2**20 + 4096


@pytest.mark.parametrize("kind", ["cuda", "mps"])
def test_a_cards_memory_is_freed_without_loading_torch(kind, monkeypatch):
    emptied = []

    def card(name):
        return SimpleNamespace(is_available=lambda: name == kind, empty_cache=lambda: emptied.append(name))

    torch = SimpleNamespace(cuda=card("cuda"), mps=card("mps"), backends=SimpleNamespace(mps=card("mps")))
    monkeypatch.setitem(sys.modules, "torch", torch)
    memory.give_memory_back()
    assert emptied == [kind]

    def lost():
        raise RuntimeError("CUDA error: unspecified launch failure")

    getattr(torch, kind).empty_cache = lost
    memory.give_memory_back()
    monkeypatch.delitem(sys.modules, "torch")
    memory.give_memory_back()
    assert "torch" not in sys.modules
