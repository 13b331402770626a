"""How prompts are read: in pieces, with weights, and with their view words whole, whatever their length."""

import random

import pytest
import torch
from diffusers import DiffusionPipeline
from tiny_models import MAX_LENGTH, write_sd3, write_sdxl, write_stable_diffusion

from sdi_engine.config.parameters import STARTER_MODEL
from sdi_engine.diffusion.clip_tokenizer import clip_tokenizer
from sdi_engine.diffusion.loading import load_prior
from sdi_engine.diffusion.perp_neg import condition_views
from sdi_engine.diffusion.prompt_weights import plain
from sdi_engine.diffusion.reading import counter, read
from sdi_engine.diffusion.views import all_view_words, view_words, with_view, without_view
from sdi_engine.errors import BadInputError

CPU = torch.device("cpu")
VIEWS = ("front view", "side view", "back view", "overhead view")
LONG = "an old cup of hot tea and a cake on it"  # too long for one piece of the tiny models

WRITERS = {"sd": write_stable_diffusion, "sdxl": write_sdxl, "sd3": write_sd3}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {name: str(writer(folder / name)) for name, writer in WRITERS.items()}


@pytest.fixture(scope="module")
def priors(folders):
    return {name: load_prior(folder, CPU) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def starter():
    return load_prior(STARTER_MODEL, CPU)


@pytest.fixture(scope="module")
def with_t5(tmp_path_factory):
    """Stable Diffusion 3 with all its text encoders."""
    return load_prior(str(write_sd3(tmp_path_factory.mktemp("models") / "sd3", t5=True)), CPU)


def letters(text: str) -> int:
    """The tokens of the tiny models."""
    return len(text.replace(" ", ""))


def texts(reading) -> list[str]:
    return ["".join(fragment.text for fragment in piece).strip() for piece in reading.pieces]


def test_view_words_are_found_again():
    for words in all_view_words():
        assert without_view(with_view("a red mug", words)) == ("a red mug", words)
    assert without_view("a front view") == ("a front view", "")


def test_a_prompt_that_fits_is_read_as_it_is():
    reading = read("a red mug, front view", letters, 22, in_pieces=True)
    assert reading.is_plain
    assert reading.short == "a red mug, front view"
    assert reading.unread == ""


@pytest.mark.parametrize("in_pieces", [True, False])
def test_view_words_stand_whole_at_the_end_whatever_the_length(in_pieces):
    words = " ".join(letter * 3 for letter in "abcdefghijklmnopqrst")
    for length in range(60):
        check_view_words(words[:length].strip(), in_pieces)


def check_view_words(prompt, in_pieces):
    reading = read(with_view(prompt, "overhead view"), letters, 22, in_pieces)
    assert all(letters(text) <= 22 for text in [*texts(reading), reading.short])
    assert texts(reading)[-1].endswith("overhead view")
    assert reading.short.endswith("overhead view")
    if in_pieces:
        everything = "".join(texts(reading)).replace(" ", "").replace(",", "")
        assert everything == f"{prompt}overheadview".replace(" ", "")
        assert reading.unread == ""
    else:
        assert texts(reading)[0].removesuffix(", overhead view") + " " + reading.unread in (prompt, f"{prompt} ")


def test_clips_own_tokens_in_pieces_are_those_of_the_whole():
    """84 tokens of a real prompt, of which earlier versions cut off the view words."""
    tokenizer = clip_tokenizer()
    count = counter(tokenizer)
    prompt = (
        "a highly detailed photo of a weathered bronze statue of an iguana holding a red balloon, standing on a mossy "
        "stone pedestal, octane render, 8k, studio lighting, soft shadows, intricate scales, award-winning sculpture, "
        "museum's finest piece, (masterpiece:1.2), ultra-realistic, shallow depth of field, bokeh, "
        "golden hour, 85mm film, f/1.8, a wet street behind it"
    )
    assert count(plain(prompt)) > 75
    readings = [read(with_view(prompt, view), count, 75, in_pieces=True) for view in VIEWS]
    for reading, view in zip(readings, VIEWS, strict=True):
        assert len(reading.pieces) == 2
        assert texts(reading)[-1].endswith(view)
        pieces = [tokenizer(text, add_special_tokens=False).input_ids for text in texts(reading)]
        assert max(map(len, pieces)) <= 75
        assert pieces[0] + pieces[1] == tokenizer(with_view(plain(prompt), view), add_special_tokens=False).input_ids
        assert count(reading.short) <= 75
        assert reading.short.endswith(view)


@pytest.mark.parametrize("view", ["back view", view_words(180.0, 0.0, "sentences")])
@pytest.mark.parametrize("in_pieces", [False, True])
def test_signs_that_come_to_other_tokens_beside_the_view_push_none_of_it_out(view, in_pieces):
    """The comma before it is a token of its own, but not after other signs."""
    tokenizer = clip_tokenizer()
    count = counter(tokenizer)
    for words in range(50, 75):
        reading = read(with_view(f"{'mug ' * words}&&", view), count, 75, in_pieces)
        assert max(map(count, [reading.short, *texts(reading)])) <= 75
        assert texts(reading)[-1].endswith(view)


def test_a_sentence_for_a_view_that_is_longer_than_a_piece_is_said_in_few_words():
    reading = read(with_view("a red mug", view_words(180.0, 0.0, "sentences")), letters, 22, in_pieces=False)
    assert reading.short == "a red mug, back view"


def test_words_longer_than_a_piece_are_split():
    reading = read("x" * 50, letters, 22, in_pieces=True)
    assert "".join(texts(reading)) == "x" * 50


def test_random_prompts_always_fit_and_keep_their_view_words():
    draw = random.Random(7)
    signs = "ab cd, (:1.3)[]\\.é中 "
    refused = 0
    for _ in range(300):
        prompt = "".join(draw.choice(signs) for _ in range(draw.randrange(120)))
        try:
            reading = read(with_view(prompt, "back view"), letters, 22, in_pieces=True)
        except BadInputError:
            refused += 1
            continue
        assert all(letters(text) <= 22 for text in texts(reading))
        assert texts(reading)[-1].endswith("back view")
    assert refused < 150


@pytest.mark.parametrize("prompt", ["(mug:11)", "a (red:-1) mug", "((mug:9):9)"])
def test_extreme_weights_are_refused(prompt):
    with pytest.raises(BadInputError, match="between 0 and 10"):
        read(prompt, letters, 22, in_pieces=True)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("prompt", ["", "a mug", "a mug, side view"])
def test_short_prompts_are_encoded_as_diffusers_does(folders, priors, name, prompt):
    """Bit for bit, so that objects stay the same."""
    absent = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3" else {}
    pipeline = DiffusionPipeline.from_pretrained(folders[name], **absent)
    more = {"prompt_2": None, "prompt_3": None} if name == "sd3" else {"num_images_per_prompt": 1}
    embedding, *rest = pipeline.encode_prompt(prompt, device=CPU, do_classifier_free_guidance=False, **more)
    if name == "sdxl" and not prompt:
        embedding = torch.zeros_like(embedding)
    text = priors[name].text([prompt])
    assert torch.equal(text["embedding"], embedding)
    if name != "sd" and prompt:
        assert torch.equal(text["pooled"], rest[1])


@pytest.mark.parametrize("name", WRITERS)
def test_sides_of_a_long_prompt_differ(priors, name):
    text = priors[name].text([with_view(LONG, view) for view in VIEWS])["embedding"]
    for one in range(4):
        for other in range(one):
            assert (text[one] - text[other]).abs().max() > 1e-3


@pytest.mark.parametrize("name", WRITERS)
def test_all_words_of_a_long_prompt_count(priors, name):
    text = priors[name].text([LONG, LONG[:-2] + "me"])["embedding"]
    assert (text[0] - text[1]).abs().max() > 1e-3


@pytest.mark.parametrize("name", WRITERS)
def test_the_first_piece_is_what_it_would_be_alone(priors, name):
    prior = priors[name]
    first = texts(prior._read(LONG))[0]
    alone, long = prior.text([first])["embedding"], prior.text([LONG])["embedding"]
    torch.testing.assert_close(long[:, :MAX_LENGTH], alone[:, :MAX_LENGTH])
    assert long.shape[1] - alone.shape[1] == MAX_LENGTH


@pytest.mark.parametrize("name", WRITERS)
def test_a_long_prompt_and_short_ones_go_through_the_model_together(priors, name):
    prior = priors[name]
    x, t = torch.randn(2, 4, 8, 8), torch.full((2,), 0.5)
    one = prior.condition([with_view(LONG, "front view"), "a mug"], "ugly")
    other = condition_views(prior, LONG, "ugly", [30.0, 120.0], [0.0, 0.0])
    for conditioning in (one, other):
        prediction = prior.predict(x, t, conditioning, 7.5)
        assert prediction.noise.isfinite().all()
    short = prior.condition(["a mug"])
    assert short.prompt["embedding"].shape[1] < one.prompt["embedding"].shape[1]


@pytest.mark.parametrize("name", WRITERS)
def test_weights_change_the_embedding(priors, name):
    prior = priors[name]
    plain, stronger, weaker, one = prior.text(["a red mug", "a (red:1.4) mug", "a (red:0.6) mug", "a (red:1) mug"])[
        "embedding"
    ]
    assert torch.equal(plain, one)
    moved = (stronger - plain).abs().amax(-1)
    assert moved[2:5].min() > 1e-4, "the letters of red"
    assert moved[[0, 1, 5, 6, 7]].max() < 1e-5, "start and the other letters"
    assert (weaker - plain).abs().max() > 1e-4
    assert not torch.equal(weaker, stronger)


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("prompt", ["a mug :)", "(:0.5) a mug", "( :0.5)a mug", "(!!!:0.5) !", "[(a:0)] (b:2)", "()"])
def test_odd_prompts_do_not_break(priors, name, prompt):
    assert priors[name].text([prompt, with_view(prompt, "front view")])["embedding"].isfinite().all()


def test_t5_is_given_weights_and_the_view_too(with_t5):
    plain, stronger, side = with_t5.text(
        ["a red mug, back view", "a (red:1.4) mug, back view", "a red mug, side view"]
    )["embedding"]
    assert plain.shape == (MAX_LENGTH + 256, 48)
    for other in (stronger, side):
        assert (plain - other)[MAX_LENGTH:].abs().max() > 1e-4
    long = " ".join(["wood"] * 80)
    front, back = with_t5.text([with_view(long, "front view"), with_view(long, "back view")])["embedding"]
    assert (front - back)[MAX_LENGTH : MAX_LENGTH + 256].abs().max() > 1e-4
    (remark,) = with_t5.remarks(long)
    assert remark.startswith("One of this model's text encoders (T5) reads only 256 tokens, without \"wood")
    assert with_t5.remarks("a red mug") == []


def test_what_is_no_words_in_other_programs_is_told(priors):
    said = priors["sd"].remarks("a mug <lora:style:0.8>, (embedding:bad-hands:1.2)")
    named = [remark.partition(" in the prompt is read as words")[0] for remark in said if "is read as words" in remark]
    assert named == ['"<lora:style:0.8>"', '"embedding:bad-hands"']


def test_the_starter_prior_reads_its_words_and_the_view_and_reports_ignored_words(starter):
    plain = starter.text(["a red mug, front view"])["embedding"]
    for prompt in ("a red mug., front view", '"a red" mug, front view', "A (red:1.3) mug!, front view"):
        assert torch.equal(starter.text([prompt])["embedding"], plain), prompt
    long = ", ".join(["a red mug", "a blue car", "a green tree", "a pink bed", "a white house"] * 2)
    texts = starter.text([with_view(long, view_words(azimuth, 40.0, "eight")) for azimuth in range(0, 360, 45)])
    assert texts["embedding"].shape[1] == 32
    for one in range(8):
        for other in range(one):
            assert (texts["embedding"][one] - texts["embedding"][other]).abs().max() > 1e-2
    (remark,) = starter.remarks(long)
    assert remark.startswith("The prompt is too long for this model, which ignores")
    assert remark.endswith('a pink bed, a white house".')
    (remark,) = starter.remarks("a (red:1.3) mug")
    assert remark == 'This model ignores weights of words: it reads "a red mug".'
    assert starter.remarks("a red mug") == []
