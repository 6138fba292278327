"""Label draws, splits, subsampling and the image transform, against the released data code."""

import hashlib

import torch
from PIL import Image

from plml.data.pixels import normalize, resize
from plml.data.split import split_rows, subsample_rows
from plml.labels import check_labels, to_signed
from plml.observation import observe

FILE = "spml_data.npz"


def check_observe(case):
    """Both official parts start from the same stream; the drawn matrix is bit-exact."""
    setting = {
        "name": "positives_negatives",
        "num_positives": int(case.number("hp_num_pos")),
        "num_negatives": int(case.number("hp_num_neg")),
    }
    seed = int(case.number("hp_seed"))
    for field in case.fields("in_labels_"):
        part = field.removeprefix("in_labels_")
        observed = observe(check_labels(case[field]), setting, seed)
        case.exact(f"out_labels_obs_{part}", to_signed(observed))


def split(case):
    """Training and validation rows of the official training part."""
    train, val = split_rows(
        int(case.number("hp_num_ex")), case.number("hp_val_frac"), int(case.number("hp_split_seed"))
    )
    train, val = subsample_rows(
        train,
        val,
        train_fraction=case.number("hp_ss_frac_train"),
        val_fraction=case.number("hp_ss_frac_val"),
        seed=int(case.number("hp_ss_seed")),
    )
    return {"train": train, "val": val}


def check_split_small(case):
    for part, rows in split(case).items():
        case.exact(f"out_idx_{part}", rows)


def check_split_real(case):
    for part, rows in split(case).items():
        case.exact(f"out_count_{part}", len(rows))
        case.exact(f"out_first50_{part}", rows[:50])
        case.exact(f"out_last50_{part}", rows[-50:])
        case.exact(f"out_sum_{part}", rows.sum())
        digest = hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()
        assert digest == str(case[f"out_sha256_int64le_{part}"])


def check_transform(case):
    """Resize without keeping the aspect ratio, scale to [0, 1], normalise; resizing depends on Pillow a little."""
    _, height, width = case["out_shape"]
    assert height == width
    pixels = resize(Image.fromarray(case["in_image_uint8"]), int(height))  # (H, W, 3) uint8
    image = normalize(torch.from_numpy(pixels).permute(2, 0, 1)[None])[0]  # (3, H, W)
    case.exact("out_shape", image.shape)
    rows, columns = case["in_sample_rc"].T
    case.close("out_samples_f32", image[:, rows, columns], rtol=0.0, atol=2e-2)
    case.close("out_channel_mean", image.mean(dim=(1, 2)), rtol=0.0, atol=2e-2)
    case.close("out_channel_std", image.std(dim=(1, 2)), rtol=0.0, atol=2e-2)


CHECKS = {
    "observe": check_observe,
    "split_small": check_split_small,
    "split_real": check_split_real,
    "transform": check_transform,
}


def test_case(case):
    CHECKS[case.group](case)


def test_every_key_is_read(golden):
    golden.check_all(CHECKS)
