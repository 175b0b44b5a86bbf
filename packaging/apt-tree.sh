#!/usr/bin/env bash
# Makes a signed apt repository of .deb files: packaging/apt-tree.sh SECRET_KEY_FILE PACKAGES TREE
# The tree is static files; packages that are in it stay in it. Nothing of the key is kept.
set -euo pipefail

usage="usage: make apt-tree KEY=FILE, a secret key without passphrase as \`gpg --export-secret-keys --armor\` writes it"
key=${1:-} packages=${2:-} tree=${3:-}
[[ -n $key && -n $packages && -n $tree ]] || { echo "apt-tree: $usage" >&2 && exit 2; }
[[ -r $key ]] || { echo "apt-tree: $key cannot be read" >&2 && exit 1; }
shopt -s nullglob
debs=("$packages"/*.deb)
((${#debs[@]})) || { echo "apt-tree: no packages in $packages; make package builds them" >&2 && exit 1; }
for program in dpkg-scanpackages gpg; do
    command -v "$program" >/dev/null || {
        echo "apt-tree: $program is missing (Debian packages dpkg-dev, gnupg)" >&2 && exit 1
    }
done

# gpg wants a home, and a short path to it.
home=$(mktemp -d)
new=$(mktemp -d "$tree.XXXXXX" 2>/dev/null || { mkdir -p "$(dirname "$tree")" && mktemp -d "$tree.XXXXXX"; })
trap 'gpgconf --homedir "$home" --kill all 2>/dev/null || true; rm -rf "$home" "$new"' EXIT
gpg() { command gpg --homedir "$home" --batch --quiet --no-tty "$@"; }
gpg --import "$key" || { echo "apt-tree: $key is not a secret key of gpg" >&2 && exit 1; }
signer=$(gpg --list-secret-keys --with-colons | awk -F: '$1 == "fpr" {print $10; exit}')
[[ -n $signer ]] || { echo "apt-tree: $key holds no secret key" >&2 && exit 1; }

suite=dists/stable
mkdir -p "$new/pool" "$new/$suite"
[[ ! -d $tree/pool ]] || cp -p "$tree"/pool/*.deb "$new/pool/"
cp -p "${debs[@]}" "$new/pool/"
cd "$new"
architectures=$(for deb in pool/*.deb; do dpkg-deb -f "$deb" Architecture; done | sort -u | tr '\n' ' ')
for architecture in $architectures; do
    dir=$suite/main/binary-$architecture
    mkdir -p "$dir"
    dpkg-scanpackages --multiversion --arch "$architecture" pool 2>/dev/null >"$dir/Packages"
    gzip -9nk "$dir/Packages"
done
{
    echo "Origin: Postern"
    echo "Label: Postern"
    echo "Suite: stable"
    echo "Codename: stable"
    echo "Architectures: ${architectures% }"
    echo "Components: main"
    echo "Date: $(date -Ru -d "@${SOURCE_DATE_EPOCH:-$(date +%s)}" | sed 's/+0000/UTC/')"
    echo "SHA256:"
    (cd "$suite" && find main -type f -printf '%P\0' | sort -z | while IFS= read -r -d '' file; do
        printf ' %s %s main/%s\n' "$(sha256sum <"main/$file" | cut -d' ' -f1)" "$(stat -c %s "main/$file")" "$file"
    done)
} >"$suite/Release"
gpg --local-user "$signer" --armor --detach-sign --output "$suite/Release.gpg" "$suite/Release"
gpg --local-user "$signer" --clearsign --output "$suite/InRelease" "$suite/Release"
gpg --export "$signer" >postern-archive-keyring.gpg
chmod -R a+rX .
cd - >/dev/null
rm -rf "$tree"
mv "$new" "$tree"
echo "apt-tree: $tree, signed by $signer"
