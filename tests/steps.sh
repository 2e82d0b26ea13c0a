# Sourced by tests/run, tests/servers and tests/long: what they need, and how they count.

need=()
command -v cc >/dev/null || need+=(gcc libc6-dev)
command -v dpkg-deb >/dev/null || need+=(dpkg)
command -v strace >/dev/null || need+=(strace)
if ((${#need[@]})); then
  sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
  $sudo apt-get update -qq && $sudo apt-get install -y -qq "${need[@]}" >&2
fi
command -v cargo >/dev/null || { echo "$0: cargo is missing; install Rust first" >&2; exit 2; }

log=$(mktemp) || exit 1
trap 'rm -f "$log"' EXIT
passed=0 failed=0 skipped=0
broken=() # what failed, for the lines before the last

# step NAME COMMAND…: one check that is a test by its exit code. 75 is neither: what it needs cannot
# be had, and it has said `skipped: why`.
step() {
  local name=$1 begun=$SECONDS code=0; shift
  echo "== $name"
  "$@" || code=$?
  case $code in
    0) passed=$((passed + 1)) ;;
    75) skipped=$((skipped + 1)) ;;
    *) failed=$((failed + 1)) broken+=("$name"); echo "FAILED: $name" ;;
  esac
  echo "   ($((SECONDS - begun)) s)"
}

# suite NAME COMMAND…: cargo test, its own results counted.
suite() {
  local name=$1 begun=$SECONDS; shift
  echo "== $name"
  "$@" >"$log" 2>&1
  local code=$? p f i s
  grep -E '^(test |test result|running|skipped:|---- |thread |error)|panicked|FAILED' "$log" || true
  p=$(sed -nE 's/^test result: .* ([0-9]+) passed.*/\1/p' "$log" | paste -sd+ | bc_)
  f=$(sed -nE 's/^test result: .* ([0-9]+) failed.*/\1/p' "$log" | paste -sd+ | bc_)
  i=$(sed -nE 's/^test result: .* ([0-9]+) ignored.*/\1/p' "$log" | paste -sd+ | bc_)
  s=$(grep -c '^skipped: ' "$log")
  # A test that skipped itself returned without failing: it is no pass.
  passed=$((passed + p - s)) failed=$((failed + f)) skipped=$((skipped + i + s))
  if ((code != 0 && f == 0)); then
    failed=$((failed + 1)) broken+=("$name"); tail -n 40 "$log"; echo "FAILED: $name"
  elif ((f != 0)); then
    mapfile -t -O "${#broken[@]}" broken < <(sed -nE '/^failures:/,/^test result/s/^    ([^ ]+)$/\1/p' "$log" | sort -u)
    grep -A 12 'panicked at' "$log" | head -n 200
    sed -n '/^failures:/,$p' "$log" | head -n 120
  fi
  echo "   ($((SECONDS - begun)) s)"
}

bc_() { local sum; read -r sum || true; echo $((${sum:-0})); }

# ended: what failed, by name; the last line; and whether all is well.
ended() {
  ((${#broken[@]} == 0)) || printf 'FAILED: %s\n' "${broken[@]}"
  echo "$passed passed, $failed failed, $skipped skipped"
  ((failed == 0))
}
