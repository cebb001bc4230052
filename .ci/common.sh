# Sourced by run and long: timed steps and tools of pinned versions.

cd "$(dirname "${BASH_SOURCE[0]}")/.."
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
tools=${XDG_CACHE_HOME:-$HOME/.cache}/tgt-rs/tools
export PATH="$tools/bin:$PATH"

# step NAME: ends the previous step and begins this one.
finished=() current= began=0
step() {
    end_step
    current=$*
    began=$SECONDS
    echo "==> $current"
}

end_step() {
    [ -z "$current" ] || finished+=("$(printf '%6d s  %s' $((SECONDS - began)) "$current")")
}

# Prints the seconds of each step, also after a failure.
report() {
    local code=$?
    end_step
    [ ${#finished[@]} -eq 0 ] || printf '%s\n' "${finished[@]}"
    printf '%6d s  in all\n' "$SECONDS"
    [ "$code" -eq 0 ] || echo "failed: ${current:-before the first step}"
}
trap report EXIT

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi
}

# tool NAME VERSION: installs a program of crates.io unless this version is installed. It is built without
# optimization, which takes a third of the time.
tool() {
    cargo install --quiet --locked --debug --root "$tools" --target-dir "$target/tools" --version "$2" "$1"
}
