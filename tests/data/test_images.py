import io
import os
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from skimage.transform import resize as skimage_resize

from vtadl.data.decoding import MAX_PIXELS
from vtadl.data.images import image_size, is_turned, read_image
from vtadl.data.mask_files import read_mask
from vtadl.data.resizing import resize_image, resize_map, resize_mask
from vtadl.errors import DataError

HEIGHT, WIDTH = 12, 17


@pytest.fixture
def rng():
    return np.random.default_rng(0)


@pytest.fixture
def rgb(rng):
    return rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(pixels: np.ndarray, *, width: int | None = None, height: int | None = None) -> bytes:
    """A PNG of 8 or 16 bits written by hand: Pillow writes no 16-bit colour."""
    channels = 1 if pixels.ndim == 2 else pixels.shape[2]
    colour = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    rows = pixels.astype(pixels.dtype.newbyteorder(">"))
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(
        ">IIBBBBB", width or pixels.shape[1], height or pixels.shape[0], 8 * pixels.itemsize, colour, 0, 0, 0
    )
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


class TestFormats:
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".tiff", ".webp", ".PNG"])
    def test_lossless_rgb_comes_back_as_it_was(self, tmp_path, rgb, suffix):
        path = tmp_path / f"image{suffix}"
        Image.fromarray(rgb).save(path, **({"lossless": True} if suffix == ".webp" else {}))
        image = read_image(path)
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, rgb)
        assert image_size(path) == (HEIGHT, WIDTH)

    def test_jpeg_equals_pillow(self, tmp_path, rgb):
        path = tmp_path / "image.jpg"
        Image.fromarray(rgb).save(path)
        np.testing.assert_array_equal(read_image(path), np.asarray(Image.open(path)))

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
    def test_grey_becomes_three_equal_channels(self, tmp_path, rgb, suffix):
        grey, path = rgb[:, :, 0], tmp_path / f"grey{suffix}"
        Image.fromarray(grey).save(path)
        np.testing.assert_array_equal(read_image(path), np.stack([grey] * 3, axis=2))

    @pytest.mark.parametrize("suffix", [".png", ".tif", ".webp"])
    def test_alpha_is_dropped(self, tmp_path, rng, rgb, suffix):
        alpha = rng.integers(0, 256, (HEIGHT, WIDTH, 1), dtype=np.uint8)
        path = tmp_path / f"alpha{suffix}"
        Image.fromarray(np.concatenate([rgb, alpha], axis=2)).save(
            path, **({"lossless": True, "exact": True} if suffix == ".webp" else {})
        )
        np.testing.assert_array_equal(read_image(path), rgb)

    def test_grey_with_alpha(self, tmp_path, rgb):
        path = tmp_path / "grey_alpha.png"
        Image.fromarray(rgb[:, :, :2].copy(), "LA").save(path)
        np.testing.assert_array_equal(read_image(path), np.stack([rgb[:, :, 0]] * 3, axis=2))

    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
    def test_palette_becomes_its_colours(self, tmp_path, rgb, suffix):
        palette = Image.fromarray(rgb).quantize(16)
        palette.save(tmp_path / f"palette{suffix}")
        expected = np.asarray(palette.convert("RGB"))
        np.testing.assert_array_equal(read_image(tmp_path / f"palette{suffix}"), expected)

    def test_transparent_palette_warns_of_nothing(self, tmp_path, rgb):
        palette = Image.fromarray(rgb).quantize(16)
        palette.save(tmp_path / "palette.png", transparency=bytes([0, 128, 255]))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = read_image(tmp_path / "palette.png")
        np.testing.assert_array_equal(image, np.asarray(palette.convert("RGB")))

    def test_one_bit(self, tmp_path, rgb):
        bits = rgb[:, :, 0] > 127
        Image.fromarray(bits).save(tmp_path / "bits.png")
        np.testing.assert_array_equal(read_image(tmp_path / "bits.png")[:, :, 1], bits * np.uint8(255))

    def test_cmyk_jpeg(self, tmp_path):
        Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "red.jpg")
        red, green, blue = read_image(tmp_path / "red.jpg").mean(axis=(0, 1))
        assert red > 250 and green < 5 and blue < 5

    @pytest.mark.parametrize(
        ("suffix", "how"), [(".tif", {}), (".png", {}), (".webp", {"lossless": True}), (".gif", {}), (".avif", {})]
    )
    def test_a_file_of_several_pictures_is_refused(self, tmp_path, rgb, suffix, how):
        frames = [Image.fromarray(rgb), Image.fromarray(255 - rgb)]
        path = tmp_path / f"frames{suffix}"
        frames[0].save(path, save_all=True, append_images=frames[1:], **how)
        for read in (read_image, image_size, lambda path: read_mask(path, None)):
            with pytest.raises(DataError, match=r"frames\..*' holds 2 pictures .*save each as a file of its own"):
                read(path)

    @pytest.mark.parametrize("kind", ["preview", "gain map"])
    def test_what_phones_add_to_a_photo_is_no_second_picture(self, tmp_path, rgb, kind):
        first, second = Image.fromarray(rgb), Image.fromarray(255 - rgb)
        path = tmp_path / "photo.jpg"
        how = {"xmp": b'<rdf hdrgm:Version="1.0"/>'} if kind == "gain map" else {}
        first.save(path, "MPO", save_all=True, append_images=[second], **how)
        if kind == "preview":  # the type of the second entry: a large thumbnail
            content = path.read_bytes()
            entries = content.index(b"MPF\0") + 4 + 50  # two of 16 bytes, after the index
            assert struct.unpack("<I", content[entries + 16 : entries + 20]) == (0,)
            path.write_bytes(content[: entries + 16] + struct.pack("<I", 0x010001) + content[entries + 20 :])
        assert read_image(path).shape == rgb.shape

    def test_a_preview_is_no_second_picture(self, tmp_path, rgb):
        with tifffile.TiffWriter(tmp_path / "preview.tif") as file:
            file.write(rgb, photometric="rgb")
            file.write(rgb[::2, ::2], photometric="rgb", subfiletype=1)
        np.testing.assert_array_equal(read_image(tmp_path / "preview.tif"), rgb)

    @pytest.mark.parametrize("suffix", [".ppm", ".tga", ".qoi", ".sgi", ".pcx", ".dib", ".apng", ".jp2", ".j2k"])
    def test_rarer_formats_that_keep_every_value(self, tmp_path, rgb, suffix):
        path = tmp_path / f"image{suffix}"
        kind = {".apng": "PNG", ".jp2": "JPEG2000", ".j2k": "JPEG2000"}.get(suffix)
        Image.fromarray(rgb).save(path, format=kind)
        np.testing.assert_array_equal(read_image(path), rgb)

    def test_gif_pgm_and_avif(self, tmp_path, rng, rgb):
        grey = rgb[:, :, 0]
        Image.fromarray(grey).save(tmp_path / "grey.gif")
        Image.fromarray(grey).save(tmp_path / "grey.pgm")
        for name in ("grey.gif", "grey.pgm"):
            np.testing.assert_array_equal(read_image(tmp_path / name), np.stack([grey] * 3, axis=2))
        deep = rng.integers(0, 65536, (HEIGHT, WIDTH)).astype(np.uint16)
        (tmp_path / "deep.pgm").write_bytes(b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + deep.astype(">u2").tobytes())
        np.testing.assert_array_equal(read_image(tmp_path / "deep.pgm")[:, :, 0], deep)
        Image.fromarray(np.full((32, 32, 3), (200, 50, 50), np.uint8)).save(tmp_path / "red.avif")
        assert np.abs(read_image(tmp_path / "red.avif").astype(int) - (200, 50, 50)).max() < 8

    def test_a_wrong_suffix_does_not_matter(self, tmp_path, rgb):
        (tmp_path / "really_png.jpg").write_bytes(png(rgb))
        np.testing.assert_array_equal(read_image(tmp_path / "really_png.jpg"), rgb)

    def test_the_result_can_be_written_to(self, tmp_path, rgb):
        (tmp_path / "image.png").write_bytes(png(rgb))
        image = read_image(tmp_path / "image.png")
        assert image.flags.c_contiguous and image.flags.writeable


class TestSixteenBits:
    @pytest.fixture
    def deep(self, rng):
        return rng.integers(0, 65536, (HEIGHT, WIDTH, 4)).astype(np.uint16)

    def test_png_grey(self, tmp_path, deep):
        (tmp_path / "deep.png").write_bytes(png(deep[:, :, 0]))
        image = read_image(tmp_path / "deep.png")
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, np.stack([deep[:, :, 0]] * 3, axis=2))

    @pytest.mark.parametrize("channels", [3, 4])
    def test_png_colour_keeps_every_bit(self, tmp_path, deep, channels):
        (tmp_path / "deep.png").write_bytes(png(deep[:, :, :channels]))
        image = read_image(tmp_path / "deep.png")
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, deep[:, :, :3])

    def test_png_grey_with_alpha_has_eight_bits(self, tmp_path, deep):
        (tmp_path / "deep.png").write_bytes(png(deep[:, :, :2]))
        image = read_image(tmp_path / "deep.png")
        assert image.dtype == np.uint8
        np.testing.assert_array_equal(image, np.stack([deep[:, :, 0] >> 8] * 3, axis=2))

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    @pytest.mark.parametrize("storage", [{}, {"compression": "deflate", "predictor": True}, {"tile": (16, 16)}])
    @pytest.mark.parametrize("channels", [1, 3, 4])
    def test_tiff(self, tmp_path, deep, byteorder, storage, channels):
        pixels = deep[:, :, :channels].squeeze()
        photometric = "minisblack" if channels == 1 else "rgb"
        extra = ["unassalpha"] if channels == 4 else None
        path = tmp_path / "deep.tif"
        tifffile.imwrite(path, pixels, photometric=photometric, byteorder=byteorder, extrasamples=extra, **storage)
        image = read_image(path)
        assert image.dtype == np.uint16
        np.testing.assert_array_equal(image, np.stack([pixels] * 3, axis=2) if channels == 1 else deep[:, :, :3])

    def test_floating_point_tiff_of_0_to_1(self, tmp_path, rng):
        values = rng.random((HEIGHT, WIDTH)).astype(np.float32)
        values[0, :2] = 0, 1
        tifffile.imwrite(tmp_path / "float.tif", values)
        image = read_image(tmp_path / "float.tif")
        assert image.dtype == np.uint16
        np.testing.assert_allclose(image[:, :, 2] / 65535, values, atol=0.51 / 65535)
        assert (image.min(), image.max()) == (0, 65535)

    @pytest.mark.parametrize("value", [-0.1, 1.5, np.nan, np.inf])
    def test_other_floating_point_values_are_refused(self, tmp_path, value):
        tifffile.imwrite(tmp_path / "float.tif", np.full((HEIGHT, WIDTH), value, np.float32))
        with pytest.raises(DataError, match=r"float\.tif' has values from .* expected 0\.\.1"):
            read_image(tmp_path / "float.tif")

    def test_integers_of_32_bits(self, tmp_path, deep):
        tifffile.imwrite(tmp_path / "long.tif", deep[:, :, 0].astype(np.uint32))
        np.testing.assert_array_equal(read_image(tmp_path / "long.tif")[:, :, 0], deep[:, :, 0])
        tifffile.imwrite(tmp_path / "negative.tif", -deep[:, :, 0].astype(np.int32))
        with pytest.raises(DataError, match=r"expected 0\.\.65535"):
            read_image(tmp_path / "negative.tif")

    @pytest.mark.parametrize(
        ("pixels", "how"),
        [
            (np.zeros((3, 20, 30), np.uint16), {"planarconfig": "separate", "photometric": "rgb"}),
            (np.zeros((20, 30), np.uint16), {"photometric": "miniswhite"}),
            (np.zeros((20, 30), np.int8), {"photometric": "minisblack"}),
            (np.zeros((20, 30), np.float64), {"photometric": "minisblack"}),
        ],
        ids=["planes", "white as zero", "signed", "float64"],
    )
    def test_tiffs_that_would_come_out_wrong_are_refused(self, tmp_path, pixels, how):
        tifffile.imwrite(tmp_path / "odd.tif", pixels, **how)
        with pytest.raises(DataError, match=r"odd\.tif.*save it as PNG"):
            read_image(tmp_path / "odd.tif")


class TestOrientation:
    @pytest.mark.parametrize("suffix", [".jpg", ".tif"])
    def test_values_that_ask_for_nothing_turn_nothing(self, tmp_path, suffix):
        path = tmp_path / f"a{suffix}"
        for orientation in range(10):
            exif = Image.Exif()
            exif[274] = orientation
            Image.fromarray(np.zeros((4, 6), np.uint8)).save(path, exif=exif)
            assert is_turned(path) == (2 <= orientation <= 8), orientation

    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif", ".webp"])
    def test_images_come_back_upright(self, tmp_path, orientation, suffix):
        corners = np.kron(np.array([[0, 80, 160], [200, 120, 240]], np.uint8), np.ones((16, 16), np.uint8))
        turned = Image.fromarray(np.stack([corners] * 3, axis=2))
        # What a camera held in that way stores: the inverse of what the tag asks for.
        stored = {
            1: lambda image: image,
            2: lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
            3: lambda image: image.transpose(Image.Transpose.ROTATE_180),
            4: lambda image: image.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
            5: lambda image: image.transpose(Image.Transpose.TRANSPOSE),
            6: lambda image: image.transpose(Image.Transpose.ROTATE_90),
            7: lambda image: image.transpose(Image.Transpose.TRANSVERSE),
            8: lambda image: image.transpose(Image.Transpose.ROTATE_270),
        }[orientation](turned)
        exif = Image.Exif()
        exif[274] = orientation
        path = tmp_path / f"turned{suffix}"
        stored.save(path, exif=exif, **({"quality": 100} if suffix in (".jpg", ".webp") else {}))
        image = read_image(path)
        assert image.shape == (32, 48, 3)
        assert image_size(path) == (32, 48)
        assert np.abs(image[8::16, 8::16, 0].astype(int) - corners[8::16, 8::16]).max() <= 3

    def test_sixteen_bit_png(self, tmp_path, rng):
        pixels = rng.integers(0, 65536, (HEIGHT, WIDTH, 3)).astype(np.uint16)
        exif = Image.Exif()
        exif[274] = 6
        data = png(pixels)
        start = 8 + 25  # After the signature and the header.
        (tmp_path / "turned.png").write_bytes(
            data[:start] + chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + data[start:]
        )
        np.testing.assert_array_equal(read_image(tmp_path / "turned.png"), np.rot90(pixels, -1))

    @pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
    def test_damaged_exif_does_no_harm(self, tmp_path, rgb):
        Image.fromarray(rgb).save(tmp_path / "image.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\xff")
        assert read_image(tmp_path / "image.jpg").shape == rgb.shape


class TestBadFiles:
    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".bmp", ".tif", ".webp"])
    @pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
    def test_truncated(self, tmp_path, rng, suffix, share):
        buffer = io.BytesIO()
        image = Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8))
        image.save(buffer, {".jpg": "JPEG", ".tif": "TIFF"}.get(suffix, suffix[1:].upper()))
        data = buffer.getvalue()
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(data[: max(1, int(share * len(data)))])
        with pytest.raises(DataError, match=rf"cut\{suffix}'") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)

    def test_damaged_in_the_middle(self, tmp_path, rgb):
        data = bytearray(png(rgb))
        data[60:90] = bytes(30)
        (tmp_path / "broken.png").write_bytes(data)
        with pytest.raises(DataError, match=r"broken\.png': .*damaged"):
            read_image(tmp_path / "broken.png")

    def test_text_named_png(self, tmp_path):
        (tmp_path / "notes.png").write_text("Remember to buy milk.\n")
        with pytest.raises(DataError, match=r"notes\.png' is not an image; expected PNG, JPEG"):
            read_image(tmp_path / "notes.png")

    def test_zero_bytes(self, tmp_path):
        (tmp_path / "nothing.png").touch()
        with pytest.raises(DataError, match=r"nothing\.png' is empty \(zero bytes\)"):
            read_image(tmp_path / "nothing.png")

    def test_formats_that_are_not_offered(self, tmp_path, rgb):
        Image.fromarray(rgb).save(tmp_path / "image.eps")
        (tmp_path / "image.eps").rename(tmp_path / "image.png")
        with pytest.raises(DataError, match="is not an image; expected"):
            read_image(tmp_path / "image.png")

    @pytest.mark.parametrize("function", [read_image, image_size])
    def test_decompression_bomb(self, tmp_path, function):
        (tmp_path / "bomb.png").write_bytes(png(np.zeros((1, 1), np.uint8), width=40_000, height=40_000))
        with pytest.raises(DataError, match=r"bomb\.png' is 40000x40000, 1600 megapixels; at most 200"):
            function(tmp_path / "bomb.png")

    def test_large_images_are_opened_without_a_warning(self, tmp_path):
        # Pillow by itself warns of half as many pixels; pytest turns that into an error.
        assert MAX_PIXELS == 200_000_000
        (tmp_path / "large.png").write_bytes(png(np.zeros((1, 1), np.uint8), width=20_000, height=9_500))
        assert image_size(tmp_path / "large.png") == (9_500, 20_000)

    def test_a_folder_and_a_missing_file(self, tmp_path):
        with pytest.raises(DataError, match="is a folder; expected an image file"):
            read_image(tmp_path)
        with pytest.raises(DataError, match=r"missing\.png' does not exist"):
            read_image(tmp_path / "missing.png")

    def test_no_permission(self, tmp_path, rgb):
        path = tmp_path / "secret.png"
        path.write_bytes(png(rgb))
        path.chmod(0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read every file")
        with pytest.raises(DataError, match=r"secret\.png': permission denied; make the file readable"):
            read_image(path)

    def test_no_permission_as_the_system_reports_it(self, tmp_path, rgb, monkeypatch):
        (tmp_path / "secret.png").write_bytes(png(rgb))

        def refuse(*_args, **_kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
        with pytest.raises(DataError, match=r"secret\.png': permission denied; make the file readable"):
            read_image(tmp_path / "secret.png")


class TestResizing:
    def test_image_range_and_layout(self, rgb):
        resized = resize_image(rgb, (20, 30))
        assert resized.shape == (3, 20, 30) and resized.dtype == np.float32 and resized.flags.c_contiguous
        assert resized.min() >= 0 and resized.max() <= 1
        np.testing.assert_array_equal(resize_image(np.full_like(rgb, 255), (5, 6)), 1)

    def test_the_same_size_changes_nothing(self, rgb):
        np.testing.assert_array_equal(resize_image(rgb, (HEIGHT, WIDTH)), rgb.transpose(2, 0, 1) / np.float32(255))

    @pytest.mark.parametrize("coloured", [[], [(5, 3, 1)], [(5, 3, 2)], [(0, 0, 0)]])
    def test_each_channel_is_its_own_in_images_that_are_grey_but_for_a_pixel(self, rng, coloured):
        image = np.repeat(rng.integers(0, 200, (40, 30, 1), dtype=np.uint8), 3, axis=2)
        for pixel in coloured:
            image[pixel] = 255
        expected = np.stack([resize_map(image[:, :, channel], (17, 23)) for channel in range(3)]) / np.float32(255)
        np.testing.assert_array_equal(resize_image(image, (17, 23)), expected)

    @pytest.mark.parametrize("size", [(5, 8), (40, 31), (12, 60)])
    def test_sixteen_bits_agree_with_eight(self, rgb, size):
        deep = rgb.astype(np.uint16) * 257
        np.testing.assert_allclose(resize_image(deep, size), resize_image(rgb, size), atol=1e-6)

    def test_sixteen_bits_are_not_rounded_to_eight(self):
        deep = np.full((8, 8, 3), 1000, np.uint16)
        np.testing.assert_allclose(resize_image(deep, (4, 4)), 1000 / 65535, rtol=1e-6)

    @pytest.mark.parametrize("size", [(7, 9), (64, 64), (40, 13), (33, 50)])
    def test_map_agrees_with_torch(self, rng, size):
        anomaly_map = rng.normal(size=(33, 21)).astype(np.float32)
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(anomaly_map)[None, None], size, mode="bilinear", align_corners=False, antialias=True
        )
        np.testing.assert_allclose(resize_map(anomaly_map, size), expected[0, 0].numpy(), atol=1e-5)

    def test_enlarged_map_agrees_with_scikit_image(self, rng):
        anomaly_map = rng.normal(size=(9, 11))
        expected = skimage_resize(anomaly_map, (30, 44), order=1, mode="edge", anti_aliasing=False)
        np.testing.assert_allclose(resize_map(anomaly_map, (30, 44)), expected, atol=1e-5)

    @pytest.mark.parametrize("scale", [1e-8, 1.0, 1e8])
    def test_map_of_any_scale(self, rng, scale):
        anomaly_map = rng.random((8, 8))
        resized = resize_map(anomaly_map * scale, (20, 20))
        np.testing.assert_allclose(resized / scale, resize_map(anomaly_map, (20, 20)), rtol=1e-5)

    def test_map_passes_nan_on(self):
        anomaly_map = np.zeros((4, 4), np.float32)
        anomaly_map[1, 1] = np.nan
        assert np.isnan(resize_map(anomaly_map, (8, 8))).any()

    @pytest.mark.parametrize("size", [(5, 8), (24, 34), (13, 40), (1, 1)])
    def test_mask_takes_the_pixel_under_each_centre(self, rng, size):
        mask = rng.random((HEIGHT, WIDTH)) > 0.5
        expected = [
            [mask[int((y + 0.5) * HEIGHT / size[0]), int((x + 0.5) * WIDTH / size[1])] for x in range(size[1])]
            for y in range(size[0])
        ]
        np.testing.assert_array_equal(resize_mask(mask, size), expected)

    def test_mask_is_not_dilated(self):
        mask = np.zeros((64, 64), bool)
        mask[16:48, 16:48] = True
        assert resize_mask(mask, (32, 32)).sum() == 16 * 16
        assert resize_mask(mask, (32, 32))[8:24, 8:24].all()


class TestMasks:
    @pytest.mark.parametrize("value", [1, 128, 255])
    @pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif"])
    def test_whatever_is_not_black_is_defective(self, tmp_path, value, suffix):
        pixels = np.zeros((HEIGHT, WIDTH), np.uint8)
        pixels[3:6, 4:9] = value
        Image.fromarray(pixels).save(tmp_path / f"mask{suffix}")
        mask = read_mask(tmp_path / f"mask{suffix}", (HEIGHT, WIDTH))
        assert mask.dtype == np.bool_
        np.testing.assert_array_equal(mask, pixels > 0)

    def test_one_bit_and_sixteen_bits(self, tmp_path):
        bits = np.zeros((HEIGHT, WIDTH), bool)
        bits[2, 3] = True
        Image.fromarray(bits).save(tmp_path / "bits.png")
        (tmp_path / "deep.png").write_bytes(png(bits.astype(np.uint16)))
        np.testing.assert_array_equal(read_mask(tmp_path / "bits.png", None), bits)
        np.testing.assert_array_equal(read_mask(tmp_path / "deep.png", None), bits)

    def test_another_size_than_the_image(self, tmp_path):
        Image.new("L", (100, 80)).save(tmp_path / "x.png")
        with pytest.raises(DataError, match=r"mask '.*x\.png' is 100x80 but its image is 512x384"):
            read_mask(tmp_path / "x.png", (384, 512))

    @pytest.mark.parametrize("dtype", [np.int32, np.float32])
    def test_numbers_of_any_size(self, tmp_path, dtype):
        values = np.zeros((HEIGHT, WIDTH), dtype)
        values[2, 3], values[4, 4] = 70_000, 255
        Image.fromarray(values).save(tmp_path / "labels.tiff")
        np.testing.assert_array_equal(read_mask(tmp_path / "labels.tiff", None), values > 0)

    @pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 0, 0)])
    def test_what_is_painted_on_a_transparent_layer(self, tmp_path, colour):
        drawn = np.zeros((HEIGHT, WIDTH), bool)
        drawn[3:6, 4:9] = True
        pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        pixels[..., :3] = colour
        pixels[..., 3] = 255 * drawn
        Image.fromarray(pixels).save(tmp_path / "layer.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "layer.png", None), drawn)

    def test_white_on_opaque_black_with_alpha(self, tmp_path):
        drawn = np.zeros((HEIGHT, WIDTH), bool)
        drawn[3:6, 4:9] = True
        pixels = np.repeat(255 * drawn[:, :, None].astype(np.uint8), 4, axis=2)
        pixels[..., 3] = 255
        Image.fromarray(pixels).save(tmp_path / "opaque.png")
        np.testing.assert_array_equal(read_mask(tmp_path / "opaque.png", None), drawn)

    def test_several_masks_of_one_image_are_joined(self, tmp_path):
        for number in range(2):
            part = np.zeros((HEIGHT, WIDTH), np.uint8)
            part[2 + 4 * number, 3] = 200 + number
            (tmp_path / "000").mkdir(exist_ok=True)
            Image.fromarray(part).save(tmp_path / f"000/00{number}.png")
        mask = read_mask(tmp_path / "000", (HEIGHT, WIDTH))
        assert np.argwhere(mask).tolist() == [[2, 3], [6, 3]]

    def test_a_size_that_a_quarter_turn_explains(self, tmp_path):
        Image.new("L", (100, 80)).save(tmp_path / "x.png")
        with pytest.raises(DataError, match=r"is 100x80 but its image is 80x100; a quarter turn would explain it"):
            read_mask(tmp_path / "x.png", (100, 80))

    def test_a_jpeg_is_refused(self, tmp_path):
        Image.new("L", (8, 8)).save(tmp_path / "x.jpg")
        with pytest.raises(DataError, match=r"x\.jpg' is a JPEG, .* save it as PNG"):
            read_mask(tmp_path / "x.jpg", None)


@pytest.mark.real_data
def test_real_images_and_masks(shared):
    folder = shared / "data" / "magnetic_tile"
    image_path = sorted((folder / "test" / "crack").iterdir())[0]
    mask_path = folder / "ground_truth" / "crack" / f"{image_path.stem}_mask.png"
    image = read_image(image_path)
    assert image.shape[:2] == image_size(image_path) == image_size(mask_path)
    assert 0 < read_mask(mask_path, image.shape[:2]).mean() < 0.5
