"""What training makes of images, as arrays, as pictures and on the page of a run."""

import json

import numpy as np
import pytest
from own_data_files import picture_folder
from PIL import Image

from fastconv import plots
from fastconv.analysis.augmented_images import augmented_images
from fastconv.cli.progress import Display
from fastconv.data import __main__ as data_command
from fastconv.data import load
from fastconv.preprocessing import Augmentation
from fastconv.recipe import load_recipe
from fastconv.training_run import RunOptions, explain_run, train_recipe

IMAGES = np.random.default_rng(0).integers(0, 256, (4, 6, 6, 1), np.uint8)


def test_each_image_is_drawn_anew_and_stays_what_it_is():
    made = augmented_images(IMAGES, Augmentation(flip=True), times=12)
    assert made.shape == (4, 12, 6, 6, 1)
    for image, drawn in zip(IMAGES, made, strict=True):
        mirrored = [(each == image[:, ::-1]).all() for each in drawn]
        assert all(m or (each == image).all() for m, each in zip(mirrored, drawn, strict=True))
        assert 0 < sum(mirrored) < 12


def test_what_is_too_bright_is_cut_off_and_floats_stay_floats():
    made = augmented_images(IMAGES, Augmentation(brightness=1.0), times=9)
    assert made.dtype == np.uint8
    assert (made.max(axis=(1, 2, 3, 4)) == 255).all()
    floats = augmented_images(IMAGES / 255, Augmentation(cutout=3), times=2)
    assert floats.dtype == np.float64
    assert (floats == 0).sum() > 2 * 4 * 2


def test_a_picture_has_a_row_for_each_image():
    axes = plots.augmented_images(IMAGES, Augmentation(crop=2), times=3)
    height, width = axes.images[0].get_array().shape[:2]
    assert height == pytest.approx(width, rel=0.1)  # four rows of four
    with pytest.raises(ValueError, match="augmented_images: images"):
        plots.augmented_images(np.zeros((2, 4, 4, 2), np.uint8), Augmentation(flip=True))


def test_the_page_of_a_run_with_augmentation_shows_it(tmp_path):
    settings = [("augmentation.crop", 2), ("augmentation.crop_padding", "reflect")]
    options = RunOptions(threads=1, backend="numpy", steps=3)
    display, dataset = Display(quiet=True, to_stderr=False), load("digits")
    recipe = load_recipe("digits", [*settings, ("data.validation", 0)])
    run = train_recipe(recipe, tmp_path / "run", options, display, dataset=dataset)
    text = explain_run(run, options).read_text()
    assert "Augmented images" in text
    assert "crop 2, crop padding reflect" in text
    assert (tmp_path / "run" / "figures" / "augmented-images.csv").read_text().splitlines() == [
        "change,value", "crop,2", "crop_padding,reflect",
    ]  # fmt: skip


def test_the_command_of_data_writes_a_sheet(tmp_path, capsys):
    picture_folder(tmp_path / "data", 30)
    sheet, said = tmp_path / "sheet.png", tmp_path / "said.json"
    arguments = [str(tmp_path / "data"), "--augmented-sheet", str(sheet), "--json", str(said)]
    assert data_command.main([*arguments, "--set", "augmentation.cutout=4"]) == 0
    assert json.loads(said.read_text())["class_names"] == ["bottom", "middle", "top"]
    with Image.open(sheet) as picture:
        assert picture.size[0] > 8 * 64  # the example and seven more
    capsys.readouterr()
    assert data_command.main(arguments) == 2
    assert "nothing is changed; say what, such as --set augmentation.flip=true" in (
        capsys.readouterr().err
    )
