"""What a saved network says: of the data set it was made for, and of pictures."""

import contextlib
import json
import re

import numpy as np
import pytest
from PIL import Image
from saved_runs import CONVOLUTIONAL, NAMES, line, recipe_of, save_run, shades
from sklearn.metrics import precision_recall_fscore_support

from fastconv import predict
from fastconv.data.picture_files import PictureError, read_picture
from fastconv.evaluate import main as evaluate
from fastconv.runs.saved_run import load_run
from fastconv.train import main as train

LINEAR = [{"kind": "flatten"}, {"kind": "dense", "units": 3}]
GRADIENT = np.arange(8 * 10, dtype=np.uint8).reshape(8, 10)


def picture(path, pixels, **more):
    Image.fromarray(pixels).save(path, **more)
    return path


# ---- pictures --------------------------------------------------------------------------------


def test_a_picture_of_the_right_size_is_taken_as_it_is(tmp_path):
    colours = np.stack([GRADIENT, GRADIENT[::-1], 255 - GRADIENT], axis=-1)
    found = read_picture(picture(tmp_path / "a.png", colours), (8, 10, 3))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, colours)
    np.testing.assert_array_equal(
        read_picture(picture(tmp_path / "b.png", GRADIENT), (8, 10, 1))[..., 0], GRADIENT
    )


def test_grey_becomes_colours_and_colours_grey(tmp_path):
    grey = read_picture(picture(tmp_path / "grey.png", GRADIENT), (8, 10, 3))
    np.testing.assert_array_equal(grey, np.repeat(GRADIENT[..., None], 3, axis=2))
    red = np.zeros((8, 10, 3), np.uint8)
    red[..., 0] = 200
    # ITU-R 601: 0.299 of red.
    found = read_picture(picture(tmp_path / "red.png", red), (8, 10, 1))
    assert abs(found.astype(int) - round(0.299 * 200)).max() <= 1


def test_what_is_transparent_lies_on_white(tmp_path):
    pixels = np.zeros((8, 10, 4), np.uint8)
    pixels[:4, :, 3] = 255
    found = read_picture(picture(tmp_path / "a.png", pixels), (8, 10, 1))
    assert (found[:4] == 0).all()
    assert (found[4:] == 255).all()


def test_sixteen_bits_are_brought_to_eight(tmp_path):
    pixels = np.linspace(0, 65535, 80).astype(np.uint16).reshape(8, 10)
    found = read_picture(picture(tmp_path / "a.png", pixels), (8, 10, 1))
    expected = np.round(pixels / 65535 * 255)
    assert abs(found[..., 0].astype(int) - expected).max() <= 1


def test_a_picture_is_turned_as_its_camera_says(tmp_path):
    sideways = np.zeros((10, 8), np.uint8)
    sideways[:, -1] = 255  # up, for a camera that was turned
    exif = Image.Exif()
    exif[0x0112] = 8
    found = read_picture(picture(tmp_path / "a.png", sideways, exif=exif), (8, 10, 1))
    assert (found[0] == 255).all()
    assert (found[1:] == 0).all()


def test_inverted_dark_is_bright(tmp_path):
    path = picture(tmp_path / "a.png", GRADIENT)
    found = read_picture(path, (8, 10, 1), invert=True)
    np.testing.assert_array_equal(found[..., 0], 255 - GRADIENT)


@pytest.mark.parametrize(("fit", "left", "top"), [("crop", 255, 255), ("pad", 255, 0),
                                                  ("stretch", 100, 255)])  # fmt: skip
def test_another_ratio_is_cropped_padded_or_stretched(tmp_path, fit, left, top):
    wide = np.full((80, 200), 255, np.uint8)
    wide[:, :40] = wide[:, -40:] = 100
    found = read_picture(picture(tmp_path / "a.png", wide), (8, 8, 1), fit=fit)[..., 0]
    if fit == "pad":  # 200x80 into 8x8: three rows in the middle, grey on both sides
        assert found[0].max() == found[-1].max() == 0
        assert found[4, 4] >= 250
        return
    assert abs(int(found[4, 0]) - left) <= 12
    assert abs(int(found[0, 4]) - top) <= 12


def test_a_large_picture_is_averaged_and_not_sampled(tmp_path):
    checks = np.indices((160, 160)).sum(axis=0) % 2 * 255
    found = read_picture(picture(tmp_path / "a.png", checks.astype(np.uint8)), (8, 8, 1))
    assert abs(found.astype(int) - 127).max() <= 2


def test_what_is_no_picture_is_named(tmp_path):
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(
        picture(tmp_path / "a.png", np.zeros((99, 99), np.uint8)).read_bytes()[:60]
    )
    for name, says in (
        ("text.png", "not a picture of a usual format"),
        ("cut.png", "cannot be read"),
        ("none.png", "no such file"),
        ("", "cannot be read|directory"),
    ):
        with pytest.raises(PictureError, match=says):
            read_picture(tmp_path / name, (8, 8, 1))
    with pytest.raises(PictureError, match="images of 2 channels"):
        read_picture(tmp_path / "a.png", (8, 8, 2))


def test_a_picture_that_is_a_program_inside_starts_no_interpreter(tmp_path, monkeypatch):
    mark, interpreter = tmp_path / "it ran", tmp_path / "bin" / "gs"
    interpreter.parent.mkdir()
    interpreter.write_text(f"#!/bin/sh\ntouch '{mark}'\n")
    interpreter.chmod(0o755)
    monkeypatch.setenv("PATH", f"{interpreter.parent}:/usr/bin:/bin")
    program = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"
    (tmp_path / "photo.jpg").write_bytes(program)
    with pytest.raises(PictureError, match=r"photo.jpg: not a picture of a usual format"):
        read_picture(tmp_path / "photo.jpg", (8, 8, 1))
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["png", "jpg", "bmp", "gif", "ppm", "tiff", "webp", "ico", "tga"])
def test_usual_formats_are_read_whatever_the_name(tmp_path, kind):
    even = Image.new("RGB", (16, 16), (200, 200, 200))
    even.save(tmp_path / f"picture.{kind}")
    (tmp_path / f"picture.{kind}").rename(tmp_path / "picture")
    pixels = read_picture(tmp_path / "picture", (4, 4, 1))
    assert abs(pixels.astype(int) - 200).max() <= 2


def test_damaged_notes_of_a_camera_do_not_matter_or_are_named(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x829A] = 0.5
    path = picture(tmp_path / "a.jpg", np.zeros((16, 16), np.uint8), exif=exif)
    content = path.read_bytes()
    start = content.index(b"Exif")
    for place in range(start, start + 70):
        for value in (0, 255):
            path.write_bytes(content[:place] + bytes([value]) + content[place + 1 :])
            with contextlib.suppress(PictureError):  # nothing else may be raised
                assert read_picture(path, (8, 8, 1)).shape == (8, 8, 1)


def test_a_picture_that_may_be_an_attack_is_refused(tmp_path, monkeypatch):
    path = picture(tmp_path / "a.png", np.zeros((64, 64), np.uint8))
    for limit in (3000, 1000):  # a warning of Pillow's, an error of Pillow's
        monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
        with pytest.raises(PictureError, match="too large"):
            read_picture(path, (8, 8, 1))


# ---- predict ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "one"
    recipe = recipe_of(CONVOLUTIONAL, preprocessing={"kind": "standardize", "per": "channel"})
    return folder, save_run(folder, recipe, shades())


def test_a_picture_of_the_test_part_gets_the_scores_it_had(saved, tmp_path, capsys):
    folder, experiment = saved
    images = experiment.dataset.test.images[:4]
    files = [str(picture(tmp_path / f"{n}.png", image)) for n, image in enumerate(images)]
    assert predict.main([str(folder), *files, "--json", "-", "--top", "2"]) == 0
    found = json.loads(capsys.readouterr().out)["predictions"]
    scores = experiment.trainer.predict(images).astype(np.float64)
    exponentials = np.exp(scores - scores.max(axis=1, keepdims=True))
    probabilities = exponentials / exponentials.sum(axis=1, keepdims=True)
    for n, each in enumerate(found):
        assert each["image"] == files[n]
        order = np.argsort(-probabilities[n])[:2]
        assert [c["class"] for c in each["classes"]] == [NAMES[c] for c in order]
        assert [c["probability"] for c in each["classes"]] == pytest.approx(
            probabilities[n][order], rel=1e-4
        )


def test_a_file_that_is_no_picture_does_not_stop_the_others(saved, tmp_path, capsys):
    folder, experiment = saved
    image = str(picture(tmp_path / "a.png", experiment.dataset.test.images[0]))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG\r\n")
    code = predict.main([str(folder), str(tmp_path / "bad.png"), image, str(tmp_path / "none.png")])
    out, err = capsys.readouterr()
    assert code == 2
    assert re.fullmatch(rf"{re.escape(image)}: .* %, .* %, .* %\n", out)
    assert len(err.splitlines()) == 2
    assert "bad.png: not a picture" in err
    assert "none.png: no such file" in err


def test_a_regression_has_no_classes_to_predict(tmp_path, capsys):
    layers = [{"kind": "dense", "units": 1}]
    save_run(tmp_path / "run", recipe_of(layers, loss="mean_squared_error",
             preprocessing={"kind": "none"}), line())  # fmt: skip
    assert predict.main([str(tmp_path / "run"), "a.png"]) == 2
    assert "is a regression" in capsys.readouterr().err


# ---- evaluate --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    assert train(["--epochs", "3", "--out", str(folder), "--quiet", "--no-report"]) == 0
    return folder


def test_an_evaluation_gives_what_the_training_ended_with(digits, capsys):
    assert evaluate([str(digits), "--json", "-"]) == 0
    found = json.loads(capsys.readouterr().out)
    summary = load_run(digits).summary
    assert found["accuracy"] == pytest.approx(summary["test_accuracy"])
    assert found["loss"] == pytest.approx(summary["test_loss"], rel=1e-5)
    assert (found["part"], found["samples"]) == ("test", 300)


def test_its_scores_are_those_of_scikit_learn(digits, capsys):
    assert evaluate([str(digits), "--part", "validation", "--json", "-", "--quiet"]) == 0
    found = json.loads(capsys.readouterr().out)
    matrix = np.array(found["confusion_matrix"])
    true, taken = np.nonzero(matrix)
    counts = matrix[true, taken]
    expected = precision_recall_fscore_support(
        np.repeat(true, counts), np.repeat(taken, counts), labels=range(10), zero_division=np.nan
    )
    for name, column in zip(("precision", "recall", "f1", "samples"), expected, strict=True):
        np.testing.assert_allclose([each[name] for each in found["classes"]], column)
    assert np.trace(matrix) / matrix.sum() == pytest.approx(found["accuracy"])


def test_a_table_is_for_people(digits, capsys):
    assert evaluate([str(digits)]) == 0
    out = capsys.readouterr().out
    assert "digits, test part: 300 samples" in out
    assert len(re.findall(r"│ \d +│", out)) == 10


def test_a_part_that_is_not_there_is_one_line(digits, tmp_path, capsys):
    file = digits / "recipe.toml"
    text = file.read_text()
    try:
        file.write_text(text.replace("[data]", "[data]\nvalidation = 0", 1))
        assert evaluate([str(digits), "--part", "validation"]) == 2
    finally:
        file.write_text(text)
    told = capsys.readouterr().err
    assert told.startswith("fastconv.evaluate: --part is validation but this run of digits has")
    assert len(told.splitlines()) == 1
