pub(crate) mod demangle;
