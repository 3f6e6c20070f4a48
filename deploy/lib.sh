# What the scripts of this folder share. Sourced, not run; it takes them to the top of the project.
# shellcheck shell=bash

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit

if [ -t 1 ]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi

say() { printf '%s==> %s%s\n' "$bold" "$*" "$plain"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

# Whether one of these programs is installed. Servers are not on every user's PATH.
has() {
  local program folder
  for program; do
    command -v "$program" >/dev/null && return 0
    for folder in /usr/sbin /usr/local/sbin /usr/libexec /usr/local/bin; do
      [ -x "$folder/$program" ] && return 0
    done
  done
  return 1
}

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif has sudo; then
    sudo "$@"
  else
    die "this needs root, and there is no sudo: $*"
  fi
}

# A toolchain installed by rustup a moment ago is not on PATH yet.
find_cargo() {
  # shellcheck disable=SC1091
  has cargo || [ ! -f "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
  has cargo || die "there is no Rust toolchain: install one from https://rustup.rs, then run this again"
}

# The program that `cargo build --release` makes.
commerce_program() { printf '%s/release/commerce' "${CARGO_TARGET_DIR:-target}"; }

# The folder of the shop's data, as an absolute path.
data_dir() { realpath -m -- "${COMMERCE_DATA_DIR:-.data}"; }

# The process that runs detached on the data folder, if it lives: a pid file alone may be stale.
detached_pid() {
  local pid
  pid=$(cat "$1/commerce.pid" 2>/dev/null) || return 1
  [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = commerce ] || return 1
  printf '%s' "$pid"
}

# Whether somebody listens on HOST:PORT.
listens() { (exec 3<>"/dev/tcp/${1%:*}/${1##*:}") 2>/dev/null; }
