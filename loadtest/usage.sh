# Read by the scripts beside it before they do anything: --help prints what stands at the head of the script,
# and another option in the place of the first argument is a mistake.
case ${1:-} in
    -h | --help)
        sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"
        exit
        ;;
    -*)
        echo "$0: $1 is none of its arguments; --help says what they are" >&2
        exit 2
        ;;
esac
