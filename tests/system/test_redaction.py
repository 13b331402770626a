import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdi_engine.contract import events
from sdi_engine.system.redaction import HIDDEN, redacted

ROOT = Path(__file__).resolve().parents[2]
SECRET = "s3cr3tPassw0rdOfMine"


@pytest.mark.parametrize(
    "text",
    [
        "proxy http://anna:{}@proxy.lan:3128/ refused",
        "https://{}@hub.example/simple",
        "socks5h://anna:{}@10.0.0.1:1080",
        "http://anna:p@ss/{}@proxy.lan:3128",
        "http://anna:1{}@proxy.lan",
        "Looking in indexes: https://anna:{}@packages.lan/simple, https://index.example/simple",
        "the proxy anna:{}@proxy.lan:3128 does not respond",
        "GET https://hub.example/model?download=1&token={} failed",
        "https://cdn.example/m?X-Amz-Signature={}&X-Amz-Date=1",
        "url: /api/?access_token={} (Caused by ProxyError)",
        "Authorization: Basic {}",
        "{{'Proxy-Authorization': 'Basic {}'}}",
        '"authorization": "Bearer {}"',
        "Bearer {}",
        "HF_TOKEN={}",
        "environ({{'HUGGING_FACE_HUB_TOKEN': '{}', 'HOME': '/home/anna'}})",
        "PIP_PASSWORD: {}",
        "Invalid token hf_{}",
        "Invalid token hf_{}AbCdEf passed",
    ],
)
def test_a_secret_is_hidden(text):
    said = redacted(text.format(SECRET))
    assert SECRET not in said
    assert HIDDEN in said
    assert redacted(said) == said


@pytest.mark.parametrize(
    "text",
    [
        "https://huggingface.co/stabilityai/sdxl-turbo?download=true",
        "http://proxy.lan:3128/path@1.0 and https://localhost:8080",
        "a photo of a cat, ratio 3:4@2x, write to anna@example.org",
        'File "/home/anna/lib/site-packages/huggingface_hub/file_download.py", line 12, in hf_hub_download',
        "hf_hub_download_with_progress_and_more, hf_quantizer",
        "Optimising: 12 of 200, 3.10 steps/s; loss=0.5, policy=none",
        "a secret garden: token of love, passwords, authorisation",
        '"C:\\Program Files\\Python312\\python.exe" -m pip install "torch==2.13.0"',
    ],
)
def test_text_without_secrets_stays(text):
    assert redacted(text) == text


def test_long_texts_are_fast():
    for text in ("a.b-" * 50_000, "A" * 200_000, "://" * 50_000, "http://" + "a:" * 50_000, "?" + "token" * 40_000):
        assert redacted(text) == text


def test_an_event_contains_no_secret():
    line = events.to_line(events.Failed(f"http://anna:{SECRET}@proxy.lan cannot be reached.", 3))
    assert SECRET not in line
    assert events.from_line(line).message == f"http://{HIDDEN}@proxy.lan cannot be reached."


def test_whatever_a_library_prints_is_redacted():
    program = f"""
import logging, sys, warnings
from sdi_engine.system import redaction
redaction.redact_output()
redaction.redact_output()
logging.getLogger("library").addHandler(logging.StreamHandler())
url = "http://anna:{SECRET}@proxy.lan"
print("printed", url)
logging.getLogger("library").error("logged %s", url)
warnings.warn("warned " + url)
sys.stderr.write("written " + url)
raise OSError("raised " + url)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert SECRET not in said.replace(program, "")
    for word in ("printed", "logged", "warned", "written", "raised"):
        assert f"{word} http://{HIDDEN}@proxy.lan" in said


@pytest.mark.parametrize("errors", ["", ":surrogateescape"])
def test_what_a_code_page_lacks_ends_no_command(errors):
    code = r"from sdi_engine.system.redaction import redact_output; redact_output(); print('\u03ba and \u00e9')"
    said = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-c", code],
        env={**os.environ, "PYTHONIOENCODING": f"cp1252{errors}", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        check=False,
    )
    assert said.stdout.decode("cp1252").strip() == "\\u03ba and \u00e9", said.stderr


def test_the_command_line_redacts(tmp_path):
    command = [
        sys.executable,
        "-m",
        "sdi_engine",
        "sample",
        "a",
        "-o",
        "new",
        "--model",
        f"http://anna:{SECRET}@hub.lan/m",
    ]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    assert done.returncode != 0
    assert f"{HIDDEN}@hub.lan" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def test_an_old_python_can_read_it():
    ast.parse((ROOT / "sdi_engine" / "system" / "redaction.py").read_text(encoding="utf-8"), feature_version=(3, 8))
