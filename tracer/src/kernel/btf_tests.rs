use super::*;

/// Writes a BTF blob by hand: types in order get ids 1, 2, ...
#[derive(Default)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
    /// Of the blob that this one goes on from: bytes of names. Types are counted on.
    names_before: u32,
}

impl Blob {
    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() && self.names_before == 0 {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.names_before + self.strings.len() as u32;
        self.strings.extend_from_slice(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn ty(&mut self, name: &str, kind: u32, flag: bool, vlen: u32, size_or_type: u32, tail: &[u32]) -> u32 {
        let words = [self.name(name), u32::from(flag) << 31 | kind << 24 | vlen, size_or_type];
        for word in words.iter().chain(tail) {
            self.types.extend_from_slice(&word.to_le_bytes());
        }
        self.count += 1;
        self.count
    }

    /// Members or parameters, of words each: name first.
    fn list(&mut self, name: &str, kind: u32, flag: bool, size: u32, items: &[(&str, &[u32])]) -> u32 {
        let mut tail = Vec::new();
        for (item, rest) in items {
            tail.push(self.name(item));
            tail.extend_from_slice(rest);
        }
        self.ty(name, kind, flag, items.len() as u32, size, &tail)
    }

    fn bytes(&self) -> Vec<u8> {
        let words = [
            u32::from(MAGIC) | 1 << 16,
            24,
            0,
            self.types.len() as u32,
            self.types.len() as u32,
            self.strings.len() as u32,
        ];
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend_from_slice(&self.types);
        bytes.extend_from_slice(&self.strings);
        bytes
    }
}

/// A kernel in miniature.
fn blob() -> Blob {
    let mut b = Blob::default();
    let int = b.ty("int", 1, false, 0, 4, &[32]);
    let byte = b.ty("u8", 1, false, 0, 1, &[8]);
    let iname = b.ty("", 3, false, 0, 0, &[byte, int, 168]);
    let flexible = b.ty("", 3, false, 0, 0, &[byte, int, 0]);
    let inner = b.list("inner", 4, false, 8, &[("x", &[int, 0]), ("y", &[int, 32])]);
    let constant = b.ty("", 10, false, 0, inner, &[]);
    let inner_t = b.ty("inner_t", 8, false, 0, constant, &[]);
    let anonymous = b.list("", 5, false, 8, &[("u", &[int, 0]), ("", &[inner, 0])]);
    b.list(
        "outer",
        4,
        true,
        300,
        &[
            ("first", &[int, 0]),
            ("bits", &[int, 3 << 24 | 32]),
            ("", &[anonymous, 64]),
            ("nested", &[inner_t, 128]),
            ("iname", &[iname, 192]),
            ("rest", &[flexible, 192 + 168 * 8]),
        ],
    );
    b.list("e", 6, true, 4, &[("NEGATIVE", &[u32::MAX]), ("TWO", &[2])]);
    b.list("e64", 19, false, 8, &[("BIG", &[1, 2])]);
    b.ty("", 16, false, 0, 8, &[]); // FLOAT
    b.ty("v", 14, false, 0, int, &[0]); // VAR
    b.ty("s", 15, false, 1, 4, &[13, 0, 4]); // DATASEC
    b.ty("tag", 17, false, 0, 9, &[0]); // DECL_TAG
    let tag = b.ty("user", 18, false, 0, inner, &[]); // TYPE_TAG
    let pointer = b.ty("", 2, false, 0, tag, &[]);
    let void = b.ty("", 2, false, 0, 0, &[]);
    let proto = b.list("", 13, false, int, &[("data", &[void]), ("inner", &[pointer])]);
    b.ty("func", 12, false, 1, proto, &[]);
    let pointer = b.ty("", 2, false, 0, proto, &[]);
    b.ty("btf_trace_event", 8, false, 0, pointer, &[]);
    let short = b.list("", 13, false, int, &[("data", &[void])]);
    b.ty("twice", 12, false, 1, proto, &[]);
    b.ty("twice", 12, false, 1, short, &[]);
    b
}

fn btf() -> Btf {
    Btf::parse(blob().bytes()).unwrap()
}

#[test]
fn finds_members() {
    let btf = btf();
    assert_eq!(btf.member_offset("outer", "first"), Some(0));
    assert_eq!(btf.member_offset("outer", "u"), Some(8), "anonymous union");
    assert_eq!(btf.member_offset("outer", "y"), Some(12), "struct in anonymous union");
    assert_eq!(btf.member_offset("outer", "nested.y"), Some(20), "through typedef and const");
    assert_eq!(btf.member_offset("outer", "bits"), None, "bit field");
    assert_eq!(btf.member_offset("outer", "first.x"), None);
    assert_eq!(btf.member_offset("outer", "absent"), None);
    assert_eq!(btf.member_offset("outer", ""), None);
    assert_eq!(btf.member_offset("absent", "first"), None);
    assert_eq!(btf.member("outer", "nested").unwrap().size, 8);
    assert_eq!(btf.struct_size("outer"), Some(300));
}

#[test]
fn finds_arrays_and_enums() {
    let btf = btf();
    assert_eq!(btf.array_len("outer", "iname"), Some(168));
    assert_eq!(btf.member("outer", "iname").unwrap().size, 168);
    assert_eq!(btf.array_len("outer", "rest"), Some(0));
    assert_eq!(btf.array_len("outer", "first"), None);
    assert_eq!(btf.enum_value("e", "NEGATIVE"), Some(-1));
    assert_eq!(btf.enum_value("e", "TWO"), Some(2));
    assert_eq!(btf.enum_value("e64", "BIG"), Some(2 << 32 | 1));
    assert_eq!(btf.enum_value("e", "THREE"), None);
}

#[test]
fn finds_functions() {
    let btf = btf();
    let params = btf.func_params("func").unwrap();
    assert_eq!(params.iter().map(|p| p.name.as_str()).collect::<Vec<_>>(), ["data", "inner"]);
    assert_eq!(params.iter().map(|p| p.type_desc.as_str()).collect::<Vec<_>>(), ["void *", "struct inner *"]);
    assert_eq!(btf.typedef_func_params("btf_trace_event"), Some(params));
    assert_eq!(btf.typedef_func_params("inner_t"), None);
    assert!(btf.func_id("func").is_some() && btf.func_id("outer").is_none());
    assert_eq!(btf.func_params("twice"), None, "two of different arity");
}

#[test]
fn a_module_goes_on_where_the_kernel_ends() {
    let kernel = blob();
    let (mut module, names_before) = (Blob::default(), kernel.strings.len() as u32);
    (module.count, module.names_before) = (kernel.count, names_before);
    let own = module.list("own", 4, false, 8, &[]);
    let pointer = module.ty("", 2, false, 0, own, &[]);
    let proto = module.list("", 13, false, 1, &[("own", &[pointer]), ("size", &[1])]);
    module.ty("probed", 12, false, 1, proto, &[]);
    // A prototype of the kernel's.
    let kernels = (1..=kernel.count).find(|id| btf().ty(*id).unwrap().kind == kind::FUNC_PROTO).unwrap();
    module.ty("alike", 12, false, 1, kernels, &[]);
    module.ty("twice", 12, false, 1, proto, &[]);
    module.ty("twice", 12, false, 1, proto, &[]);
    let kernel = btf();
    let whole = module.bytes();
    let types = |name: &str| -> Option<Vec<String>> {
        let module = ModuleBtf::parse(&kernel, whole.clone()).unwrap();
        Some(module.func_params(name)?.into_iter().map(|param| param.type_desc).collect())
    };
    assert_eq!(types("probed").unwrap(), ["struct own *", "int"]);
    assert_eq!(types("alike").unwrap(), ["void *", "struct inner *"]);
    assert_eq!((types("twice"), types("func"), types("absent")), (None, None, None));
    for at in 0..whole.len() {
        let mut altered = whole.clone();
        altered[at] = 0xff;
        if let Ok(module) = ModuleBtf::parse(&kernel, altered) {
            module.func_params("probed");
        }
    }
}

#[test]
fn truncated_or_altered_blobs_never_panic() {
    let whole = blob().bytes();
    for len in 0..whole.len() {
        exercise(whole[..len].to_vec());
    }
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut altered = whole.clone();
            altered[at] = value;
            exercise(altered);
        }
    }
}

fn exercise(bytes: Vec<u8>) {
    let Ok(btf) = Btf::parse(bytes) else { return };
    btf.member("outer", "nested.y");
    btf.array_len("outer", "iname");
    btf.enum_value("e64", "BIG");
    btf.func_params("func");
    btf.typedef_func_params("btf_trace_event");
}

#[test]
fn cycles_end() {
    let mut b = Blob::default();
    b.ty("loop", 8, false, 0, 1, &[]);
    // A struct that holds itself, twice, without a name: 2^depth paths.
    b.list("s", 4, false, 8, &[("", &[2, 0]), ("", &[2, 0]), ("a", &[1, 0])]);
    let array = b.ty("", 3, false, 0, 0, &[3, 3, 2]);
    b.list("t", 4, false, 8, &[("a", &[array, 0])]);
    let btf = Btf::parse(b.bytes()).unwrap();
    assert_eq!(btf.member_offset("s", "absent"), None);
    assert_eq!(btf.typedef_func_params("loop"), None);
    assert_eq!(btf.member("t", "a").unwrap().size, 0);
}

#[test]
fn errors_name_the_cause() {
    let error = |bytes: Vec<u8>| Btf::parse(bytes).unwrap_err().to_string();
    assert!(error(vec![]).contains("shorter"));
    assert!(error(vec![0; 24]).contains("magic"));
    let mut future = Blob::default();
    future.ty("new", 20, false, 0, 0, &[]);
    assert!(error(future.bytes()).contains("kind 20"));
    let mut long = blob().bytes();
    long[8..12].fill(0xff);
    assert!(error(long).contains("outside"));
}

#[test]
fn a_longer_header_is_skipped() {
    let mut bytes = blob().bytes();
    bytes[4] = 32;
    bytes.splice(24..24, [0; 8]);
    assert!(Btf::parse(bytes).unwrap().func_id("func").is_some());
}
