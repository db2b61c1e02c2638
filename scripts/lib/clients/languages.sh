# shellcheck shell=bash disable=SC2154
# How the client of each language is generated, compiled and run; sourced by scripts/clients. Each run_ gets the scenario in the
# variables URL, COUPON, HOLDER, LATE and ODD, and fails if anything is not as it should be.

build_go() {
  need_tool go "the client for Go needs Go 1.23 or later"
  generate go go --git-host example.com --git-user-id shop --git-repo-id coupons --additional-properties packageName=coupons
  mkdir -p "$out/scenario"
  cp "$SOURCE/main.go" "$out/scenario/"
  attempt "compiling the client for Go" go -C "$out" build -o run ./scenario
}
run_go() { "$TOOLS/go/run"; }

build_java() {
  need_tool javac "the client for Java needs a JDK 11 or later"
  # Parameters by name: by position, a further optional one would break what calls it.
  generate java java --library native --additional-properties \
    useSingleRequestParameter=true,invokerPackage=com.example.coupons,apiPackage=com.example.coupons.api,modelPackage=com.example.coupons.model
  # The versions are those that this version of the generator names.
  attempt "fetching what the client for Java needs" mvn -q -B -f "$out/pom.xml" dependency:copy-dependencies \
    -DincludeScope=compile -DoutputDirectory="$out/lib"
  mapfile -t sources < <(find "$out/src/main/java" -name '*.java')
  attempt "compiling the client for Java" javac -nowarn -d "$out/classes" -cp "$out/lib/*" "${sources[@]}" "$SOURCE/Scenario.java"
}
run_java() { java -cp "$TOOLS/java/classes:$TOOLS/java/lib/*" Scenario; }

build_python() {
  install_python_in "$TOOLS/venv" "$SOURCE/requirements.txt"
  generate python python --additional-properties packageName=coupons
  attempt "compiling the client for Python" "$TOOLS/venv/bin/python" -m compileall -q "$out/coupons"
}
run_python() { PYTHONPATH=$TOOLS/python "$TOOLS/venv/bin/python" "$SOURCE/scenario.py"; }

build_rust() {
  need_tool cargo "the client for Rust needs Rust 1.85 or later"
  generate rust rust --additional-properties packageName=coupons
  # A workspace of its own, with the versions of this one where they fit; a shop chooses TLS, loopback needs none.
  printf '\n[dev-dependencies]\ntokio = { version = "1", features = ["macros", "rt", "time"] }\n\n[workspace]\n' >>"$out/Cargo.toml"
  cp "$ROOT/Cargo.lock" "$out/"
  mkdir -p "$out/examples"
  cp "$SOURCE/scenario.rs" "$out/examples/"
  attempt "compiling the client for Rust" env CARGO_TARGET_DIR="$TOOLS/target" \
    cargo build --manifest-path "$out/Cargo.toml" --no-default-features --example scenario
}
run_rust() { "$TOOLS/target/debug/examples/scenario"; }

build_typescript() {
  SOURCE=$SOURCE install_node 'the compiler for TypeScript'
  generate typescript typescript-fetch
  mkdir -p "$TOOLS/scenario"
  rm -rf "$TOOLS/scenario/client"
  cp -r "$out" "$TOOLS/scenario/client"
  cp "$SOURCE/scenario.ts" "$TOOLS/scenario/"
  attempt "compiling the client for TypeScript" node "$TOOLS/node/node_modules/typescript/bin/tsc" --strict --noImplicitAny false --target es2022 \
    --module commonjs --moduleResolution node10 --ignoreDeprecations 6.0 --lib es2022,dom \
    --outDir "$TOOLS/scenario/js" "$TOOLS/scenario/scenario.ts"
}
run_typescript() { node "$TOOLS/scenario/js/scenario.js"; }
