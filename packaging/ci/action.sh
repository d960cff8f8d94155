#!/usr/bin/env bash
# What action.yml runs: `tracer check` with annotations on standard output and a job summary. Its input are
# the variables that action.yml sets; GITHUB_STEP_SUMMARY and GITHUB_OUTPUT come from the runner.
set -uo pipefail

words=(check "$TRACER_POLICY" --report github=-)
[ -n "${GITHUB_STEP_SUMMARY:-}" ] && words+=(--report "markdown=$GITHUB_STEP_SUMMARY")
[ -n "${TRACER_JUNIT:-}" ] && words+=(--report "junit=$TRACER_JUNIT")
[ -n "${TRACER_JSON:-}" ] && words+=(--report "json=$TRACER_JSON")
[ -n "${TRACER_SAVE:-}" ] && words+=(--save "$TRACER_SAVE")
# Both are written in the workflow, as a shell takes them: quotes work.
eval "words+=(${TRACER_ARGUMENTS:-})"
if [ -n "${TRACER_COMMAND:-}" ]; then
    eval "words+=(-- $TRACER_COMMAND)"
fi

as_root=()
if [ "$(id -u)" != 0 ]; then
    # sudo forgets the environment, which target and driver may need.
    as_root=(sudo --preserve-env env "PATH=$PATH")
fi
"${as_root[@]}" "${TRACER:-tracer}" "${words[@]}"
status=$?

case $status in
    0) verdict=pass ;;
    1) verdict=violated ;;
    2) verdict=usage ;;
    3) verdict=inconclusive ;;
    4) verdict=workload_failed ;;
    *) verdict=failed ;;
esac
[ -n "${GITHUB_OUTPUT:-}" ] && echo "verdict=$verdict" >>"$GITHUB_OUTPUT"
exit $status
