"""Contact sheets: pictures in rows and columns, with a title, labels and captions, legible at 100 %."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

PICTURE_EDGE = 192
"""Pixels along a picture's edge; smaller pictures are enlarged to it, larger ones reduced."""

LABEL_WIDTH = 150
MARGIN = 10
FONT_SIZE = 15
LINE_HEIGHT = 19
PAPER = (255, 255, 255)
INK = (20, 20, 20)
NO_PICTURE = (235, 235, 235)


@dataclass(frozen=True)
class Cell:
    """One square picture, or None for a grey square, with a caption below."""

    picture: Image.Image | None
    caption: str = ""


@dataclass(frozen=True)
class Row:
    """Cells side by side, with a label on their left."""

    label: str
    cells: Sequence[Cell]


def contact_sheet(
    rows: Sequence[Row], columns: Sequence[str] = (), title: str = "", picture_edge: int = PICTURE_EDGE
) -> Image.Image:
    """One picture of rows of captioned pictures; texts are wrapped between words.

    Args:
        rows: at least one, each of at least one cell.
        columns: a heading for each column, or none.
        title: a heading for the whole sheet; may have several lines.
        picture_edge: pixels along every picture's edge.
    """
    font = ImageFont.load_default(FONT_SIZE)
    count = max(len(row.cells) for row in rows)
    left = MARGIN + (LABEL_WIDTH + MARGIN if any(row.label for row in rows) else 0)
    width = left + count * (picture_edge + MARGIN)

    title_text = _wrapped(title, width - 2 * MARGIN, font)
    column_texts = [_wrapped(name, picture_edge, font) for name in columns]
    label_texts = [_wrapped(row.label, LABEL_WIDTH, font) for row in rows]
    caption_texts = [[_wrapped(cell.caption, picture_edge, font) for cell in row.cells] for row in rows]
    head = MARGIN + _height([title_text]) + _height(column_texts)
    heights = [
        max(picture_edge + _height(captions), _height([label])) + MARGIN
        for captions, label in zip(caption_texts, label_texts, strict=True)
    ]

    sheet = Image.new("RGB", (width, head + sum(heights)), PAPER)
    draw = ImageDraw.Draw(sheet)

    def write(x: int, y: int, text: str) -> None:
        draw.multiline_text((x, y), text, fill=INK, font=font, spacing=LINE_HEIGHT - FONT_SIZE)

    write(MARGIN, MARGIN, title_text)
    for column, text in enumerate(column_texts):
        write(left + column * (picture_edge + MARGIN), MARGIN + _height([title_text]), text)
    y = head
    for row, label, captions, height in zip(rows, label_texts, caption_texts, heights, strict=True):
        write(MARGIN, y, label)
        for column, (cell, caption) in enumerate(zip(row.cells, captions, strict=True)):
            x = left + column * (picture_edge + MARGIN)
            sheet.paste(_square(cell.picture, picture_edge), (x, y))
            write(x, y + picture_edge, caption)
        y += height
    return sheet


def strip(pictures: Sequence[Image.Image]) -> Image.Image:
    """Pictures of one size side by side."""
    width, height = pictures[0].size
    joined = Image.new("RGB", (width * len(pictures), height))
    for index, picture in enumerate(pictures):
        joined.paste(picture, (index * width, 0))
    return joined


def squares(joined: Image.Image) -> list[Image.Image]:
    """The square pictures that `strip` joined."""
    edge = joined.height
    return [joined.crop((x, 0, x + edge, edge)) for x in range(0, joined.width, edge)]


def block(pictures: Sequence[Image.Image]) -> Image.Image:
    """One to four square pictures of one size as one square: a single one as it is, more as two by two."""
    if len(pictures) == 1:
        return pictures[0]
    edge = pictures[0].height
    joined = Image.new("RGB", (2 * edge, 2 * edge), PAPER)
    for index, picture in enumerate(pictures):
        joined.paste(picture, (index % 2 * edge, index // 2 * edge))
    return joined


def _square(picture: Image.Image | None, edge: int) -> Image.Image:
    if picture is None:
        return Image.new("RGB", (edge, edge), NO_PICTURE)
    method = Image.Resampling.BICUBIC if picture.width < edge else Image.Resampling.LANCZOS
    return picture.resize((edge, edge), method)


def _wrapped(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text broken into lines of at most `width` pixels; a longer word gets a line of its own."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines.append("")
        for word in paragraph.split():
            longer = f"{lines[-1]} {word}".strip()
            if font.getlength(longer) <= width or not lines[-1]:
                lines[-1] = longer
            else:
                lines.append(word)
    return "\n".join(lines)


def _height(texts: Sequence[str]) -> int:
    """Pixels that the tallest of some wrapped texts takes, with a margin below; 0 without any text."""
    lines = max((text.count("\n") + 1 for text in texts if text), default=0)
    return lines * LINE_HEIGHT + MARGIN if lines else 0


def folded_sheet(rows: Sequence[Row], columns: Sequence[str], picture_edge: int) -> Image.Image:
    """A contact sheet whose rows go on beside each other where there are many: about as wide as it is high."""
    whole = contact_sheet(rows, columns, picture_edge=picture_edge)
    blocks = round(math.sqrt(whole.height / whole.width))
    if blocks <= 1:
        return whole
    length = math.ceil(len(rows) / blocks)
    parts = [
        contact_sheet(rows[first : first + length], columns, picture_edge=picture_edge)
        for first in range(0, len(rows), length)
    ]
    sheet = Image.new("RGB", (sum(part.width for part in parts), max(part.height for part in parts)), PAPER)
    left = 0
    for part in parts:
        sheet.paste(part, (left, 0))
        left += part.width
    return sheet
