"""The pickled batches are read without running anything that is in them."""

import builtins
import contextlib
import os
import pickle
import struct
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastconv.data import DataError
from fastconv.data.batch_pickle import load_batch_pickle

DATA = np.arange(12, dtype=np.uint8).reshape(3, 4)


def python2_text(text):
    """A Python 2 string in a pickle of protocol 2: SHORT_BINSTRING."""
    return b"U" + bytes([len(text)]) + text


def python2_batch(data=DATA, labels=(1, 2, 3), reconstruct=b"numpy.core.multiarray\n_reconstruct"):
    """What Python 2 and NumPy 1 wrote for {"data": data, "labels": labels}, opcode by opcode."""
    array = (
        b"c" + reconstruct + b"\n"  # GLOBAL
        b"cnumpy\nndarray\n" b"K\x00\x85" + python2_text(b"b") + b"\x87R"  # (ndarray, (0,), "b")
        b"(K\x01" + b"J" + struct.pack("<i", data.shape[0]) + b"J"
        + struct.pack("<i", data.shape[1]) + b"\x86"
        b"cnumpy\ndtype\n" + python2_text(b"u1") + b"K\x00K\x01\x87R"
        b"(K\x03" + python2_text(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89T" + struct.pack("<i", data.size) + data.tobytes() + b"tb"
    )  # fmt: skip
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    return b"\x80\x02}(" + python2_text(b"data") + array + python2_text(b"labels") + numbers + b"u."


def test_a_batch_of_python_2_is_read():
    loaded = load_batch_pickle("batch", python2_batch())
    assert (loaded["data"] == DATA).all()
    assert loaded["data"].dtype == np.uint8  # type: ignore[attr-defined]
    assert loaded["labels"] == [1, 2, 3]


def test_the_batch_of_python_2_made_here_is_one_that_pickle_reads_too():
    loaded = pickle.loads(python2_batch(), encoding="bytes")
    assert (loaded[b"data"] == DATA).all()


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x02})" + b"\x85" * 200_000 + b"K\x01s.",
        b"\x80\x02})" + b"2\x86" * 40 + b"K\x01s.",
        b"\x80\x02}()" + b"2\x86" * 40 + b"K\x01u.",
        b"\x80\x04})" + b"\x85" * 200_000 + b"(" + b"\x91K\x01s.",
        b"\x80\x05}X\x01\0\0\0a\x96" + struct.pack("<Q", 2**33) + b"K\x01s.",
    ],
    ids=["deep", "wide, which takes for ever to hash", "wide, of several", "frozen set", "buffer"],
)
def test_a_small_pickle_that_takes_much_time_or_memory_is_refused_at_once(content):
    with pytest.raises(DataError, match=r"^batch: the pickle is truncated or damaged"):
        load_batch_pickle("batch", content)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("key", ["data", b"data"])
def test_a_batch_of_python_3_is_read_in_every_protocol(protocol, order, key):
    content = pickle.dumps({key: np.asarray(DATA, order=order), "n": [1, "two", None]}, protocol)
    loaded = load_batch_pickle("batch", content)
    assert (loaded["data"] == DATA).all()
    assert loaded["n"] == [1, "two", None]


class Call:
    """Pickled as a call of ``function``: what an attacker puts into a file."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def attacks(marker):
    """Calls that write the file ``marker`` when they are run."""
    shell = f"touch {marker}"
    code = f"open({str(marker)!r}, 'w').close()"
    open_marker = Call(builtins.open, str(marker), "w")
    return {
        "os.system": Call(os.system, shell),
        "eval": Call(builtins.eval, code),
        "exec": Call(builtins.exec, code),
        "open": open_marker,
        "as an argument of a harmless call": Call(builtins.str, open_marker),
        "in an argument of numpy.dtype": Call(np.dtype, open_marker),
    }


NAMES = ["os.system", "eval", "exec", "open", "as an argument of a harmless call",
         "in an argument of numpy.dtype"]  # fmt: skip

PLACES = {
    "alone": lambda call: call,
    "for the data": lambda call: {b"data": call, b"labels": [0]},
    "among the labels": lambda call: {b"data": DATA, b"labels": [0, [call], 2]},
    "under a key that is not read": lambda call: {b"data": DATA, b"labels": [0], b"more": call},
    "as a key": lambda call: {call: 0},
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("attack", NAMES)
def test_an_attack_is_refused_by_name_and_leaves_no_trace(tmp_path, attack, place, protocol):
    marker = tmp_path / "marker"
    content = pickle.dumps(PLACES[place](attacks(marker)[attack]), protocol)
    with pytest.raises(DataError, match=r"^cifar/batch: the pickle asks for '") as caught:
        load_batch_pickle("cifar/batch", content)
    assert "nothing was run" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("attack", ["os.system", "eval", "exec", "open"])
def test_the_attacks_made_here_do_harm_where_nothing_stops_them(tmp_path, attack):
    marker = tmp_path / "marker"
    result = pickle.loads(pickle.dumps(attacks(marker)[attack]))
    if attack == "open":
        result.close()
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"cos\nsystem\n(S'touch MARKER'\ntR.", "os.system"),
        (b"(S'touch MARKER'\nios\nsystem\n.", "os.system"),
        (b"(cos\nsystem\nS'touch MARKER'\no.", "os.system"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch MARKER\x85R.", "os.system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "__builtin__.eval"),
        (b"cbuiltins\ngetattr\n.", "builtins.getattr"),
        (b"cnumpy\nload\n.", "numpy.load"),
        (b"cnumpy\nsave\n.", "numpy.save"),
        (b"\x80\x04\x8c\x05numpy\x8c\x12ndarray.__reduce__\x93.", "numpy.ndarray.__reduce__"),
        (b"cnumpy.core.multiarray\nscalar\n.", "numpy.core.multiarray.scalar"),
        (b"ccopyreg\n_reconstructor\n.", "copyreg._reconstructor"),
    ],
)
def test_every_instruction_that_imports_goes_through_the_same_door(
    tmp_path, monkeypatch, content, name
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"asks for '{name}'"):
        load_batch_pickle("batch", content)
    assert list(tmp_path.iterdir()) == []


def test_a_module_that_the_pickle_names_is_not_even_imported(tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    (tmp_path / "trap_of_the_pickle.py").write_text(f"open({str(marker)!r}, 'w').close()\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(DataError, match=r"asks for 'trap_of_the_pickle\.anything'"):
        load_batch_pickle("batch", b"ctrap_of_the_pickle\nanything\n.")
    assert not marker.exists()
    assert "trap_of_the_pickle" not in sys.modules


def test_a_name_with_control_characters_cannot_break_the_line_of_the_message():
    name = "os\n\x1b[2J" + "x" * 5000
    content = b"\x80\x04X" + struct.pack("<I", len(name)) + name.encode() + b"\x8c\x06system\x93."
    with pytest.raises(DataError) as caught:
        load_batch_pickle("batch", content)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("content", "message"),
    [
        # BUILD on what stands for numpy.dtype: it would change the state of all later loads.
        (b"cnumpy\ndtype\n}S'code'\nS'x'\nsb.", "changes the state of an imported name"),
        (b"cnumpy\ndtype\n(N}S'__call__'\nNstb.", "changes the state of an imported name"),
        (b"c_codecs\nencode\n(S'x'\nS'zip'\ntR.", "other than text as latin1"),
        (b"cnumpy\ndtype\n(S'f8'\ntR.", "truncated or damaged|dictionary"),
        (python2_batch(reconstruct=b"numpy\ndtype"), "not a string"),
        (python2_batch().replace(b"cnumpy\nndarray\n", b"K\x05"), "not numpy.ndarray"),
        (python2_batch().replace(b"U\x02u1", b"U\x02i8"), "type 'i8', expected 'u1'"),
        (python2_batch().replace(b"U\x02u1", b"U\x01O"), "type 'O', expected 'u1'"),
        (python2_batch().replace(b"K\x01J\x03", b"K\x01J\x04"), "bytes that its shape asks for"),
        (python2_batch().replace(b"K\x01J\x03\0\0\0J", b"K\x01J\xff\xff\xff\xffJ"), "shape"),
        (b"\x80\x02].", "holds a list; expected a dictionary"),
        (b"\x80\x02}K\x01K\x02s.", "a key .* is a int; expected text"),
        (b"P1\n.", "truncated or damaged"),
        (b"\x80\xff.", "truncated or damaged"),
        (b"", "truncated or damaged"),
        (b"<html>404</html>", "truncated or damaged"),
        # A place in the memo, and strings, of gigabytes: not there, so not made.
        (b"\x80\x02Nr\xff\xff\xff\xff.", "numbers an object 4294967295"),
        (b"Np99999999999\n.", "numbers an object 99999999999"),
        (b"\x80\x03B\xff\xff\xff\x7fx.", "truncated or damaged"),
        (b"\x80\x04\x8e\0\0\0\0\0\1\0\0x.", "truncated or damaged"),
    ],
)  # fmt: skip
def test_a_damaged_pickle_is_refused(content, message):
    with pytest.raises(DataError, match=message) as caught:
        load_batch_pickle("batch", content)
    assert str(caught.value).startswith("batch: ")
    assert "\n" not in str(caught.value)


def test_an_attack_on_the_state_leaves_later_loads_alone():
    with pytest.raises(DataError):
        load_batch_pickle("batch", b"cnumpy\ndtype\n}S'code'\nS'x'\nsb.")
    assert (load_batch_pickle("batch", python2_batch())["data"] == DATA).all()


@given(st.integers(0, len(python2_batch()) - 1))
def test_a_pickle_cut_off_anywhere_is_refused(length):
    with pytest.raises(DataError, match="truncated or damaged"):
        load_batch_pickle("batch", python2_batch()[:length])


@given(st.integers(0, len(python2_batch()) - 1), st.integers(0, 255))
def test_a_byte_changed_anywhere_gives_a_dictionary_or_a_data_error(place, value):
    content = bytearray(python2_batch())
    content[place] = value
    loaded = {}
    with contextlib.suppress(DataError):
        loaded = load_batch_pickle("batch", bytes(content))
    assert all(isinstance(key, str) for key in loaded)


def test_nothing_is_imported_by_reading_a_batch(monkeypatch):
    def refuse(name, *arguments, **options):
        raise AssertionError(f"{name} was imported")

    content = python2_batch()
    monkeypatch.setattr(builtins, "__import__", refuse)
    load_batch_pickle("batch", content)
