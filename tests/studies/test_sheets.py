import numpy as np
from PIL import Image

from sdi_engine.studies.sheets import Cell, Row, block, contact_sheet, folded_sheet, squares, strip

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour, edge=64):
    return Image.new("RGB", (edge, edge), colour)


def count(sheet, colour):
    return int((np.array(sheet) == colour).all(axis=2).sum())


def test_small_and_large_pictures_get_the_same_size():
    sheet = contact_sheet([Row("", [Cell(plain(RED, 64)), Cell(plain(BLUE, 512))])], picture_edge=160)
    assert count(sheet, RED) == count(sheet, BLUE) == 160 * 160
    assert sheet.width >= 2 * 160


def test_rows_columns_and_captions_do_not_cover_pictures():
    rows = [
        Row("a label that is longer than its column is wide", [Cell(plain(RED), "one\ntwo\nthree"), Cell(None, "no")]),
        Row("second", [Cell(plain(GREEN), "a caption with many words, which is wrapped"), Cell(plain(BLUE))]),
    ]
    sheet = contact_sheet(rows, ["left", "right"], "A title\nof two lines", picture_edge=160)
    assert all(count(sheet, colour) == 160 * 160 for colour in (RED, GREEN, BLUE))
    red = np.argwhere((np.array(sheet) == RED).all(axis=2))
    green = np.argwhere((np.array(sheet) == GREEN).all(axis=2))
    assert red[:, 1].min() == green[:, 1].min(), "they share a column"
    between = np.array(sheet)[red[:, 0].max() + 1 : green[:, 0].min(), red[:, 1].min() : red[:, 1].max()]
    assert (between.min(axis=2) < 100).any(), "the caption stands between them"


def test_texts_make_a_sheet_taller():
    bare = contact_sheet([Row("", [Cell(plain(RED))])])
    captioned = contact_sheet([Row("", [Cell(plain(RED), "caption")])])
    titled = contact_sheet([Row("", [Cell(plain(RED), "caption")])], title="title")
    assert bare.height < captioned.height < titled.height


def test_many_rows_go_on_beside_each_other():
    rows = [Row("", [Cell(plain(RED)), Cell(plain(BLUE))]) for _ in range(17)]
    sheet = folded_sheet(rows, ["left", "right"], 64)
    assert count(sheet, RED) == count(sheet, BLUE) == 17 * 64 * 64
    assert 0.5 < sheet.width / sheet.height < 2.0


def test_a_strip_comes_apart_again():
    pictures = [plain(colour, 8) for colour in (RED, GREEN, BLUE)]
    assert [picture.tobytes() for picture in squares(strip(pictures))] == [picture.tobytes() for picture in pictures]


def test_four_views_make_a_block():
    views = block([plain(colour, 8) for colour in (RED, GREEN, BLUE, RED)])
    assert views.size == (16, 16)
    assert [views.getpixel(at) for at in ((0, 0), (8, 0), (0, 8), (8, 8))] == [RED, GREEN, BLUE, RED]
