"""Which samples of data of one's own are held out: shares, classes, groups, a file of names."""

import numpy as np
import pytest
from own_data_files import picture_folder, stripes

from fastconv.data import DataError, OwnOptions, load_own
from fastconv.data.own_options import data_name
from fastconv.data.part_division import divide, divide_by_file


def assert_is_a_division(parts, count):
    """Every sample is in one part, and the indices of a part rise."""
    np.testing.assert_array_equal(np.sort(np.concatenate(list(parts.values()))), np.arange(count))
    for indices in parts.values():
        assert (np.diff(indices) > 0).all()


@pytest.mark.parametrize("seed", range(5))
def test_every_part_has_its_share_of_every_class(seed):
    labels = np.repeat([0, 1, 2], [300, 150, 50])[np.random.default_rng(1).permutation(500)]
    parts = divide("x", labels, 500, {"test": 0.2, "validation": 0.1}, seed)
    assert_is_a_division(parts, 500)
    assert [len(parts[part]) for part in ("training", "validation", "test")] == [350, 50, 100]
    for part, share in (("test", 0.2), ("validation", 0.1)):
        counts = np.bincount(labels[parts[part]], minlength=3)
        assert abs(counts - share * np.array([300, 150, 50])).max() <= 1


def test_a_class_of_one_sample_is_for_training():
    labels = np.array([0] * 20 + [1])
    for seed in range(20):
        assert 20 in divide("x", labels, 21, {"test": 0.3}, seed)["training"]


def test_a_seed_decides_and_another_one_decides_otherwise():
    labels = np.arange(100) % 2
    first, again, other = (divide("x", labels, 100, {"test": 0.2}, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first["test"], again["test"])
    assert first["test"].tolist() != other["test"].tolist()


def test_a_group_is_in_one_part():
    generator = np.random.default_rng(0)
    groups = [f"person {n}" for n in generator.integers(0, 30, 600)]
    for seed in range(5):
        parts = divide("x", None, 600, {"test": 0.2, "validation": 0.1}, seed, groups)
        assert_is_a_division(parts, 600)
        members = [{groups[i] for i in indices} for indices in parts.values()]
        assert sum(map(len, members)) == 30
        assert abs(len(parts["test"]) - 120) <= 40


def test_few_groups_leave_one_for_every_part():
    parts = divide("x", None, 9, {"test": 0.9, "validation": 0.05}, 0, list("aaabbbccc"))
    assert [len(parts[part]) for part in ("training", "validation", "test")] == [3, 3, 3]
    with pytest.raises(DataError, match="2 groups for 3 parts"):
        divide("x", None, 9, {"test": 0.2, "validation": 0.1}, 0, list("aaabbbbbb"))
    with pytest.raises(DataError, match="2 samples for 3 parts"):
        divide("x", None, 2, {"test": 0.2, "validation": 0.1}, 0)


def test_a_file_names_who_is_held_out(tmp_path):
    file = tmp_path / "parts.csv"
    file.write_text("name,part\na/1.png,test\nb/2.png,val\na/3.png\n\n", encoding="utf-8")
    names = ["a/1.png", "a/3.png", "b/2.png", "b/4.png"]
    parts = divide_by_file("data", names, file)
    assert {part: i.tolist() for part, i in parts.items()} == {
        "training": [3], "test": [0, 1], "validation": [2]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("c/1.png,test", r"line 1: data has no sample 'c/1.png'"),
        ("a,holdout", "expected name,part"),
        ("a,test\na,val", "line 2: 'a' is in two parts"),
        ("a,test\nb,test", "holds out every sample"),
    ],
)
def test_a_file_that_names_what_there_is_not_is_refused(tmp_path, text, says):
    file = tmp_path / "parts.csv"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=says) as fault:
        divide_by_file("data", ["a", "b"], file)
    assert str(file) in str(fault.value)


def test_groups_and_files_reach_pictures_and_tables(tmp_path):
    folder = tmp_path / "pictures"
    picture_folder(folder, count=60)
    for file in folder.rglob("*.png"):  # of 10 people, each with pictures of every class
        file.rename(file.with_name(f"p{int(file.stem) % 10}_{file.name}"))
    dataset = load_own(folder, group="^(p[0-9])_", validation_fraction=0.0)
    assert len(dataset.test) == 12
    with pytest.raises(DataError, match="finds no group in this name"):
        load_own(folder, group="^(q)_")
    for bad in ("(", "p"):
        with pytest.raises(DataError, match=r"data\.group is"):
            load_own(folder, group=bad)
    held = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("p3_*.png"))
    (tmp_path / "parts.csv").write_text("\n".join(held), encoding="utf-8")
    dataset = load_own(folder, split_file=str(tmp_path / "parts.csv"))
    assert (len(dataset.test), len(dataset.training)) == (6, 54)
    images, labels = stripes(12)
    rows = [f"{label},{n % 4},{image[0, 0]}" for n, (image, label) in
            enumerate(zip(images, labels, strict=True))]  # fmt: skip
    table = tmp_path / "a.csv"
    table.write_text("label,who,value\n" + "\n".join(rows), encoding="utf-8")
    dataset = load_own(table, group="who", validation_fraction=0.0)
    assert dataset.image_shape == (1, 1, 1)
    assert len(dataset.test) == 3


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"fit": "crop"}, "data.fit is 'crop'; expected refuse, resize"),
        ({"fit": "pad"}, "data.fit is pad but data.size is not given"),
        ({"size": (8,)}, r"data.size is \[8\]; expected \[height, width\]"),
        ({"size": (8, 100000)}, "each from 1 to 4096"),
        ({"channels": 2}, "data.channels is 2"),
        ({"image_shape": (0, 8)}, "data.image_shape is"),
        ({"test_fraction": 1.0}, "data.test_fraction is 1.0"),
        ({"test_fraction": 0.6, "validation_fraction": 0.5}, "less than 1 together"),
        ({"split_seed": -1}, "data.split_seed is -1"),
        ({"bad": "ignore"}, "data.bad is 'ignore'"),
        ({"split_file": "a.csv", "group": "who"}, "leave one of them out"),
    ],
)
def test_options_out_of_range_are_named(options, says):
    with pytest.raises(ValueError, match=says):
        OwnOptions("x", **options)


def test_a_large_test_share_leaves_room_for_validation():
    options = OwnOptions("x", test_fraction=0.95)
    assert 0 < options.validation_share < 0.05


def test_data_are_called_after_their_file():
    assert data_name("/data/leaves.v2/") == "leaves.v2"
    assert data_name("/data/cifar-100-python.tar.gz") == "cifar-100-python"
