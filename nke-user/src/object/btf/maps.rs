//! What an object's types say of its maps and of the kernel's symbols, and the edits that make aya-obj
//! and the kernel take them.
//!
//! Edits are words, each with the place where it goes: they are made on the bytes of the file, of which
//! the types are a view.
//!
//! ```ignore
//! let types = Types::parse(&btf)?;
//! for (place, word) in types.define_maps()? {
//!     btf[place..place + 4].copy_from_slice(&word.to_ne_bytes());
//! }
//! ```

use super::{
    KIND_ARRAY, KIND_DATASEC, KIND_FUNC_PROTO, KIND_FWD, KIND_PTR, KIND_STRUCT, KIND_UNION,
    KIND_VAR, Types, VAR_EXTERN, VAR_GLOBAL, u32_at,
};

impl Types<'_> {
    /// Where in the bytes the member `values` of a map's definition is, if it has one.
    fn values_member(&self, definition: u32) -> Option<usize> {
        let start = self.start(definition)?;
        if self.kind(definition)? != KIND_STRUCT {
            return None;
        }
        let members = (u32_at(self.bytes, start + 4)? & 0xffff) as usize;
        let mut members = (0..members).map(|nth| start + 12 + 12 * nth);
        members.find(|member| self.name(*member) == Some(b"values"))
    }

    /// The definition of the map that is a variable of this name.
    fn definition(&self, map: &str) -> Option<u32> {
        let mut ids = (1..).zip(&self.starts).map(|(id, start)| (id, *start));
        let variable = ids.find(|(id, start)| {
            self.kind(*id) == Some(KIND_VAR) && self.name(*start) == Some(map.as_bytes())
        });
        self.refers_to(variable?.0)
    }

    /// At how many bytes of a map's definition its initial values start.
    pub(in crate::object) fn values_offset(&self, map: &str) -> Option<u64> {
        let member = self.values_member(self.definition(map)?)?;
        Some(u64::from(u32_at(self.bytes, member + 8)? / 8))
    }

    /// Where the names of `values` members are whose values are functions: aya-obj takes these
    /// members for maps, and refuses the object.
    pub(in crate::object) fn function_values(&self) -> Vec<usize> {
        let is_functions = |member: usize| {
            let array = u32_at(self.bytes, member + 4)?;
            let element = u32_at(self.bytes, self.start(array)? + 12)?;
            let pointee = self.refers_to(element)?;
            let kinds = [self.kind(array)?, self.kind(element)?, self.kind(pointee)?];
            Some(kinds == [KIND_ARRAY, KIND_PTR, KIND_FUNC_PROTO])
        };
        let members = (1..)
            .zip(&self.starts)
            .filter_map(|(id, _)| self.values_member(id));
        members
            .filter(|member| is_functions(*member) == Some(true))
            .collect()
    }

    /// The words to write, each at its place, so that references to the kernel's own symbols
    /// (the sections `.ksyms` and `.kconfig`) pass: the kernel takes no types of what an object
    /// does not define, and aya-obj looks for these sections in the file.
    ///
    /// A function becomes a forward declaration, a variable one of a pointer, and the section a
    /// union of as many pointers, which has a record of the same length.
    pub(in crate::object) fn without_externs(&self) -> Option<Vec<(usize, u32)>> {
        let mut edits = Vec::new();
        let pointer = (1..).zip(&self.starts).map(|(id, _)| id);
        let Some(pointer) = pointer
            .into_iter()
            .find(|id| self.kind(*id) == Some(KIND_PTR))
        else {
            return Some(edits);
        };
        for (id, start) in (1..).zip(&self.starts).map(|(id, start)| (id, *start)) {
            let name = self.name(start)?;
            if self.kind(id)? != KIND_DATASEC || !matches!(name, b".ksyms" | b".kconfig") {
                continue;
            }
            let members = u32_at(self.bytes, start + 4)? & 0xffff;
            edits.extend([
                (start, 0),
                (start + 4, KIND_UNION << 24 | members),
                (start + 8, 8),
            ]);
            for entry in (0..members as usize).map(|nth| start + 12 + 12 * nth) {
                let symbol = u32_at(self.bytes, entry)?;
                let record = self.start(symbol)?;
                match self.kind(symbol)? {
                    KIND_VAR => edits.extend([(record + 8, pointer), (record + 12, 1)]),
                    _ => edits.extend([(record + 4, KIND_FWD << 24), (record + 8, 0)]),
                }
                edits.extend([(entry, 0), (entry + 4, pointer), (entry + 8, 0)]);
            }
        }
        Some(edits)
    }

    /// The variables of the section `.maps`, each with where its entry of the section is, and
    /// whether the object only names it.
    fn map_variables(&self) -> Option<Vec<(usize, u32, bool)>> {
        let mut variables = Vec::new();
        for (id, start) in (1..).zip(&self.starts).map(|(id, start)| (id, *start)) {
            if self.kind(id)? != KIND_DATASEC || self.name(start)? != b".maps" {
                continue;
            }
            let members = u32_at(self.bytes, start + 4)? & 0xffff;
            for entry in (0..members as usize).map(|nth| start + 12 + 12 * nth) {
                let variable = u32_at(self.bytes, entry)?;
                let linkage = u32_at(self.bytes, self.start(variable)? + 12)?;
                let named = self.kind(variable)? == KIND_VAR && linkage == VAR_EXTERN;
                variables.push((entry, variable, named));
            }
        }
        Some(variables)
    }

    /// The maps that the object only names, and another extension defines.
    pub(in crate::object) fn extern_maps(&self) -> Vec<String> {
        let variables = self.map_variables().unwrap_or_default().into_iter();
        let named = variables.filter(|(_, _, named)| *named);
        let names = named.filter_map(|(_, variable, _)| self.name_of(variable));
        names
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    /// The words to write, each at its place, so that all maps are defined: those that were only
    /// named come last in the section, as they do in the file, since the kernel wants the entries in
    /// the order of their offsets (`btf_datasec_check_meta`, kernel/bpf/btf.c).
    pub(in crate::object) fn define_maps(&self) -> Option<Vec<(usize, u32)>> {
        let variables = self.map_variables()?;
        let (named, defined): (Vec<_>, Vec<_>) = variables.iter().partition(|(_, _, named)| *named);
        let mut edits = Vec::new();
        for ((entry, _, _), (from, variable, named)) in
            variables.iter().zip(defined.iter().chain(&named))
        {
            for field in [0, 4, 8] {
                edits.push((entry + field, u32_at(self.bytes, from + field)?));
            }
            if *named {
                edits.push((self.start(*variable)? + 12, VAR_GLOBAL));
            }
        }
        Some(edits)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Types, tests::words, u32_at};

    #[test]
    fn initial_values_are_found() {
        let strings = *b"\0jmp\0values\0";
        // 1: FUNC_PROTO; 2: PTR to it; 3: ARRAY of these; 4: STRUCT with a pointer and values;
        // 5: VAR jmp.
        let types = [
            &[0, 13 << 24, 0][..],
            &[0, 2 << 24, 1],
            &[0, 3 << 24, 0, 2, 1, 0],
            &[0, 4 << 24 | 2, 8, 0, 2, 0, 5, 3, 64],
            &[1, 14 << 24, 4, 1],
        ]
        .concat();
        let length = u32::try_from(4 * types.len()).unwrap();
        let header = [0x0001_eb9f, 24, 0, length, length, 12];
        let btf = [words(&header), words(&types), strings.to_vec()].concat();
        let types = Types::parse(&btf).unwrap();
        assert_eq!(types.values_offset("jmp"), Some(8));
        assert_eq!(types.values_offset("values"), None);
        let [member] = types.function_values()[..] else {
            panic!("not one")
        };
        assert_eq!(u32_at(&btf, member), Some(5));
    }
}
