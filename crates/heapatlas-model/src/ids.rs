//! Ids are newtypes over `u32`, so that mixing them up does not compile.

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        #[repr(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into a column.
            #[inline]
            pub fn index(self) -> usize {
                self.0 as usize
            }

            /// The id of a column's row.
            ///
            /// # Panics
            /// When `index` does not fit 32 bits; columns never grow that far, since readers
            /// refuse such files.
            #[inline]
            pub fn from_index(index: usize) -> Self {
                Self(u32::try_from(index).expect("columns hold fewer than 2^32 rows"))
            }
        }
    };
}

id! {
    /// A node's ordinal: its position in the node list of its graph, from 0.
    /// Not the number the snapshot calls the object by; that is [`HeapGraph::object_id`](crate::HeapGraph::object_id).
    NodeId
}
id! {
    /// An edge's ordinal: its position in the edge list of its graph, from 0.
    EdgeId
}
id! {
    /// An entry of a graph's [`StringTable`](crate::StringTable).
    StringId
}
id! {
    /// A node of the allocation trace tree ([`AllocationTraces`](crate::AllocationTraces)), by its row.
    TraceId
}
id! {
    /// A call stack of an allocation profile, a row of its [`StackTable`](crate::StackTable).
    StackId
}
id! {
    /// A place in code, a row of [`AllocationProfile::locations`](crate::AllocationProfile::locations).
    LocationId
}
id! {
    /// A loaded file, a row of [`AllocationProfile::modules`](crate::AllocationProfile::modules).
    ModuleId
}
