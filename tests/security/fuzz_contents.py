"""Damaged contents: a valid file with a few changes."""

from hypothesis import strategies as st

# What parsers stumble over.
TOKENS = [
    b"", b"\x00", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"-1", b"0", b"99999999999999999999", b"nan", b"inf",
    b"1e400", b"null", b"true", b"[]", b"{}", b"[" * 8, b'"', b"'", b",", b":", b"\n", b"\r", b"\t", b" ", b"../", b"/",
    b"\\", "\u2028".encode(), "\ud7ff\u0000\u0660".encode(), b"\xef\xbb\xbf", b"&a *a", b"<<: ",
    b"!!python/object:os.system", b"%", b"@",
]  # fmt: skip


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """Draw a valid content with a few changes: bytes, cuts, copies of a piece elsewhere, and things parsers dislike."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, max(0, len(content))))
        last = min(len(content), first + draw(st.integers(0, 12)))
        kind = draw(st.sampled_from(["byte", "token", "cut", "end", "copy", "bytes", "digit"]))
        if kind == "byte" and first < len(content):
            content[first] = draw(st.integers(0, 255))
        elif kind == "token":
            content[first:last] = draw(st.sampled_from(TOKENS))
        elif kind == "cut":
            del content[first:last]
        elif kind == "end":
            del content[first:]
        elif kind == "copy":
            place = draw(st.integers(0, max(0, len(content))))
            content[place:place] = content[first : first + draw(st.integers(1, 200))]
        elif kind == "bytes":
            content[first:last] = draw(st.binary(max_size=12))
        elif kind == "digit":
            digits = [n for n, byte in enumerate(content) if 0x30 <= byte <= 0x39]
            if digits:
                content[draw(st.sampled_from(digits))] = draw(st.integers(0x2D, 0x39))
    return bytes(content)
