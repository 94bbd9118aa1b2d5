"""What is synthetic says so, in every format, for good; and on the picture where that is wanted."""

from __future__ import annotations

import json
import time
import zlib
from io import BytesIO
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image as Pillow

import portrayer
from portrayer.image import codec
from portrayer.image.codec import Credits, Mark, decode, encode
from portrayer.image.credits import of_result
from portrayer.image.label import ASPECT, corner
from tests.image.pictures import chunk, exif, png, saved, scene

FORMATS = tuple(codec.FORMATS)
KIND = "http://cv.iptc.org/newscodes/digitalsourcetype/compositeWithTrainedAlgorithmicMedia"
MARK = Mark("Portrayer 1.2.3", {"blend": "0.8", "mode": "a \"b\" <c> & 'd' – é"})
IMAGE = scene(20, 30)


def packet(blob: bytes) -> bytes:
    """The XMP that Pillow finds in a file."""
    with Pillow.open(BytesIO(blob)) as file:
        file.load()
        found = file.info.get("xmp") or file.info.get("XML:com.adobe.xmp") or b""
    return found.encode() if isinstance(found, str) else found


def described(*properties: str) -> bytes:
    """An XMP packet of these attributes."""
    names = {
        "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
        "xmp": "http://ns.adobe.com/xap/1.0/",
        "exif": "http://ns.adobe.com/exif/1.0/",
        "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    }
    spaces = " ".join(f'xmlns:{name}="{uri}"' for name, uri in names.items())
    return f"<rdf:RDF {spaces}><rdf:Description {' '.join(properties)}/></rdf:RDF>".encode()


def holding(xmp: bytes, format: str) -> bytes:
    """A file of another program with this packet in it."""
    if format == "PNG":
        return png(IMAGE, 8, 2, extra=chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    if format == "TIFF":
        file = BytesIO()
        tags = [(700, "B", len(xmp), xmp, True)]
        tifffile.imwrite(file, IMAGE, photometric="rgb", metadata=None, extratags=tags)
        return file.getvalue()
    return saved(IMAGE, format, xmp=xmp)


def mark_of(xmp: bytes, format: str = "PNG") -> Mark | None:
    return decode(holding(xmp, format)).credits.mark


@pytest.mark.parametrize("format", FORMATS)
def test_a_mark_comes_back(format: str) -> None:
    """Tool and parameters are read from the file, beside the other credits; grey and RGB alike."""
    credits = Credits("2024:05:06 07:08:09", "Zoë 写真", "© Zoë; Studio", MARK)
    for image in (IMAGE, IMAGE[..., 0]):
        assert decode(encode(image, format, credits=credits)).credits == credits
        assert decode(encode(image, format, credits=Credits(mark=MARK))).credits.mark == MARK


@pytest.mark.parametrize("format", FORMATS)
def test_everybody_can_read_it(format: str) -> None:
    """It is well-formed XMP with IPTC's word for it and the program's name; PNG says it in plain
    text as well."""
    blob = encode(IMAGE, format, credits=Credits(mark=MARK))
    tree = ElementTree.fromstring(packet(blob))
    said = {element.tag.partition("}")[2]: element.text for element in tree.iter()}
    assert said["DigitalSourceType"] == KIND
    assert said["CreatorTool"] == "Portrayer 1.2.3"
    assert json.loads(said["parameters"] or "") == MARK.parameters
    if format == "png":
        assert b"tEXtSynthetic\0yes" in blob
        assert b"tEXtSoftware\0Portrayer 1.2.3" in blob


@pytest.mark.parametrize("format", FORMATS)
def test_what_is_not_synthetic_is_not_marked(format: str) -> None:
    """Neither XMP nor a word of it in the file."""
    blob = encode(IMAGE, format, credits=Credits(artist="Ada"))
    assert packet(blob) == b""
    assert b"ynthetic" not in blob
    assert decode(blob).credits == Credits(artist="Ada")


texts = st.text(max_size=30)


@given(st.lists(st.sampled_from(FORMATS), min_size=2, max_size=5), st.dictionaries(texts, texts))
def test_it_survives_every_way_through_the_formats(
    way: list[str], parameters: dict[str, str]
) -> None:
    """Decoded and encoded again and again, in any order, with any text in it."""
    credits = Credits(mark=Mark("Portrayer 1.2.3", parameters))
    image = IMAGE
    for format in way:
        decoded = decode(encode(image, format, credits=credits))
        image, credits = decoded.image, decoded.credits
    assert credits.mark == Mark("Portrayer 1.2.3", parameters)


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize(
    "written",
    [
        f'Iptc4xmpExt:DigitalSourceType="{KIND}" xmp:CreatorTool="Ed &amp; Co 3"',
        f"xmp:CreatorTool='Ed &amp; Co 3'\n Iptc4xmpExt:DigitalSourceType = '{KIND}'",
        f'xmp:CreatorTool="Ed &amp; Co 3"><Iptc4xmpExt:DigitalSourceType rdf:resource="{KIND}"/><a',
        f'xmp:CreatorTool="Ed &amp; Co 3"><Iptc4xmpExt:DigitalSourceType> {KIND}\n</a',
        'Iptc4xmpExt:DigitalSourceType="https://cv.iptc.org/newscodes/digitalsourcetype/'
        'trainedAlgorithmicMedia" xmp:CreatorTool="Ed &amp; Co 3"',
    ],
)
def test_marks_of_other_programs_are_kept(format: str, written: str) -> None:
    """However they spell it: an attribute, an element, a resource; wholly generated ones too."""
    assert mark_of(described(written), format) == Mark("Ed & Co 3")


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_nothing_else_of_a_photos_xmp_is_kept(format: str) -> None:
    """Where a photo was taken is in XMP too: marked or not, it never reaches a result."""
    place = 'exif:GPSLatitude="52,31.2N" xmp:CreatorTool="Camera 1"'
    camera = 'Iptc4xmpExt:DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/'
    plain = mark_of(described(place, f'{camera}digitalCapture"'), format)
    assert plain is None
    marked = decode(holding(described(place, f'Iptc4xmpExt:DigitalSourceType="{KIND}"'), format))
    assert marked.credits == Credits(mark=Mark("Camera 1"))
    for result in FORMATS:
        assert b"GPS" not in packet(encode(IMAGE, result, credits=marked.credits))


@pytest.mark.parametrize(
    ("parameters", "kept"),
    [
        ('{"a": "b"}', {"a": "b"}),
        ("{}", {}),
        ('{"a": "b"', {}),
        ('{"a": 1}', {}),
        ('["a"]', {}),
        ("9" * 10_000, {}),
        ("[" * 50_000, {}),
        ("", {}),
    ],
)
def test_broken_parameters_leave_the_mark(parameters: str, kept: dict[str, str]) -> None:
    """What can be read of them is kept; that the picture is synthetic, in any case."""
    written = (
        f"portrayer:parameters={quoteattr(parameters)}",
        f'xmp:CreatorTool="x{"&#10;" * 9}y" Iptc4xmpExt:DigitalSourceType="{KIND}"',
    )
    assert mark_of(described(*written)) == Mark("x y", kept)


def test_parameters_that_do_not_fit_are_left_out() -> None:
    """A JPEG's segment ends at 64 kB: the mark is written whatever comes with it."""
    for parameters in ({"x": "y" * 70_000}, {"x": "<" * 15_000}, {"x": "é" * 9_000}):
        for format in FORMATS:
            blob = encode(IMAGE, format, credits=Credits(mark=Mark("&" * 9_000, parameters)))
            assert decode(blob).credits.mark == Mark("&" * 2_000, {})


@given(st.binary(max_size=400), st.integers(0, 400))
def test_a_damaged_packet_costs_nothing(noise: bytes, at: int) -> None:
    """Whatever bytes stand in a packet, the picture is read, and what it says can be written."""
    whole = packet(encode(IMAGE, "png", credits=Credits(mark=MARK)))
    decoded = decode(holding(whole[:at] + noise + whole[at + len(noise) :], "PNG"))
    assert np.array_equal(decoded.image, IMAGE)
    assert decode(encode(IMAGE, "jpeg", credits=decoded.credits)).credits == decoded.credits


@pytest.mark.parametrize(
    "piece",
    [
        b"Iptc4xmpExt:DigitalSourceType",
        b"Iptc4xmpExt:DigitalSourceType='",
        b'Iptc4xmpExt:DigitalSourceType rdf:resource="',
        b"Iptc4xmpExt:DigitalSourceType" + b" " * 40_000,
        b"&amp;" * 40_000,
    ],
)
def test_a_huge_packet_costs_little(piece: bytes) -> None:
    """Megabytes made to be slow to read are not."""
    vast = holding(piece * (4_000_000 // len(piece)), "PNG")
    start = time.process_time()
    assert decode(vast).credits == Credits()
    assert time.process_time() - start < 2


def test_a_packed_packet_is_never_unpacked() -> None:
    """Gigabytes of XMP, compressed, cost nothing."""
    packed = zlib.compress(bytes(50_000_000), 9)
    text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed)
    assert decode(png(IMAGE, 8, 2, extra=text)).credits == Credits()


def test_credits_are_the_frames_and_marks_are_everyones() -> None:
    """Of several photos the last one's artist counts; a mark of any of them stays, until the
    result has one of its own, with the program's name and version."""
    face, frame = Credits(artist="Ada", mark=MARK), Credits("2020:01:01 00:00:00", "Bob", "(c)")
    assert of_result([frame], None) == frame
    assert of_result([face], None) == face
    assert of_result([face, frame], None) == Credits("2020:01:01 00:00:00", "Bob", "(c)", MARK)
    made = of_result([face, frame], {"blend": "1"})
    assert made.artist == "Bob"
    assert made.mark == Mark(f"Portrayer {portrayer.__version__}", {"blend": "1"})
    assert of_result([frame], {}).mark == Mark(f"Portrayer {portrayer.__version__}")


def test_a_mark_and_a_photos_own_record_live_together() -> None:
    """Orientation and artist come from EXIF and the mark from XMP, in one file."""
    block = exif(Orientation=6, Artist="Ada")
    xmp = described(f'Iptc4xmpExt:DigitalSourceType="{KIND}" xmp:CreatorTool="T"')
    for format in ("JPEG", "PNG", "WEBP"):
        options: dict[str, Any] = {} if format == "PNG" else {"xmp": xmp}
        blob = saved(IMAGE, format, exif=block, **options)
        if format == "PNG":  # Pillow writes none there
            text = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp)
            blob = blob[:-12] + text + blob[-12:]
        decoded = decode(blob)
        assert decoded.image.shape == (30, 20, 3)
        assert decoded.credits == Credits(artist="Ada", mark=Mark("T"))


@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 255))
def test_the_corner_mark_is_in_its_corner(height: int, width: int, level: int) -> None:
    """Any picture gets one, as large as fits; nothing left of it, above it or in the original
    changes."""
    image = np.full((height, width, 3), level, np.uint8)
    marked = corner(image)
    assert marked.shape == image.shape
    assert marked.dtype == np.uint8
    assert (image == level).all()
    rows, columns = np.nonzero((marked != image).any(axis=2))
    if min(height, width) > 2:
        assert len(rows)
        size = min(16, height, int(width / ASPECT))
        assert rows.min() >= height - 1.5 * size - 1
        assert columns.min() >= width - (ASPECT + 0.5) * size - 2


@pytest.mark.parametrize("level", [0, 90, 255])
@pytest.mark.parametrize("side", [64, 512, 2000])
def test_the_corner_mark_can_be_seen(side: int, level: int) -> None:
    """On black, grey and white its letters stand out from its box, at any size."""
    image = np.full((side, side, 3), level, np.uint8)
    marked = corner(image).astype(int)
    changed = (marked != level).any(axis=2)
    box = marked[changed.any(axis=1)][:, changed.any(axis=0)].mean(axis=2)
    assert box.shape[0] >= 10
    assert box.max() > 200
    assert box.max() - np.median(box) > 100
    share = (box > 180).mean()
    assert 0.05 < share < 0.4
    np.testing.assert_array_equal(corner(image), marked)
