//! What the messages of gRPC look like: from descriptor sets that `protoc` wrote, or from `.proto` files.

use prost_reflect::{DescriptorPool, Kind, MessageDescriptor, ServiceDescriptor};
use protox::Compiler;
use protox::file::{ChainFileResolver, File, FileResolver, GoogleFileResolver};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Most files that a `.proto` may import, one way or another.
const MOST_FILES: usize = 2_000;

/// Adds a descriptor set.
pub(super) fn add_set(pool: &mut DescriptorPool, bytes: &[u8]) -> Result<(), String> {
    pool.decode_file_descriptor_set(bytes).map_err(|error| {
        let why = error.to_string();
        match why.contains("not found") {
            true => format!("{why}: make it with `protoc --include_imports --descriptor_set_out=FILE`"),
            false => format!("it is no descriptor set ({why}): make one with `protoc --include_imports --descriptor_set_out=FILE`"),
        }
    })
}

/// Texts of `.proto` files by the names that imports give them.
struct Sources(BTreeMap<String, String>);

impl FileResolver for Sources {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        match self.0.get(name) {
            Some(text) => File::from_source(name, text),
            None => Err(protox::Error::file_not_found(name)),
        }
    }
}

/// Compiles a `.proto` file. `read` gives the text of a path, `folders` are where imports are looked for.
pub(super) fn compile(
    path: &Path,
    folders: &[PathBuf],
    read: &dyn Fn(&Path) -> io::Result<String>,
) -> Result<DescriptorPool, String> {
    let (root, name) = folders
        .iter()
        .find_map(|folder| path.strip_prefix(folder).ok().map(|rest| (folder, rest)))
        .ok_or_else(|| "it lies in none of the folders under `include`".to_string())?;
    let name = name.to_string_lossy().replace('\\', "/");
    let mut sources = BTreeMap::new();
    let text = read(&root.join(&name)).map_err(|e| format!("it cannot be read: {e}"))?;
    let mut open = vec![(name.clone(), text)];
    while let Some((name, text)) = open.pop() {
        let file = File::from_source(&name, &text).map_err(|e| told(&e))?;
        for import in &file.file_descriptor_proto().dependency {
            let known = sources.contains_key(import) || open.iter().any(|(name, _)| name == import);
            if known || *import == name {
                continue;
            }
            let found = folders.iter().find_map(|folder| read(&folder.join(import)).ok());
            match found {
                Some(text) => open.push((import.clone(), text)),
                None if GoogleFileResolver::new().open_file(import).is_ok() => {}
                None => {
                    return Err(format!(
                        "{name} imports {import}, which is not there: name its folder under `include`"
                    ));
                }
            }
        }
        sources.insert(name, text);
        if sources.len() > MOST_FILES {
            return Err(format!("it imports more than {MOST_FILES} files"));
        }
    }
    let mut resolver = ChainFileResolver::new();
    resolver.add(Sources(sources));
    resolver.add(GoogleFileResolver::new());
    let mut compiler = Compiler::with_file_resolver(resolver);
    compiler.open_file(&name).map_err(|e| told(&e))?;
    Ok(compiler.descriptor_pool())
}

/// The compiler's words with the place, on one line.
fn told(error: &protox::Error) -> String {
    let words = format!("{error:?}");
    words.lines().next().unwrap_or_default().trim().to_string()
}

/// All names of services.
pub(super) fn services(pool: &DescriptorPool) -> Vec<String> {
    pool.services().map(|service| service.full_name().to_string()).collect()
}

/// All names of a service's methods.
pub(super) fn methods(service: &ServiceDescriptor) -> Vec<String> {
    service.methods().map(|method| method.name().to_string()).collect()
}

/// The names of a message's fields, as they may be written.
pub(super) fn fields(message: &MessageDescriptor) -> Vec<String> {
    message
        .fields()
        .flat_map(|f| {
            let json = f.json_name().to_string();
            let own = f.name().to_string();
            if json == own { vec![own] } else { vec![own, json] }
        })
        .collect()
}

/// What a field holds, where it is a message whose JSON is a mapping of its fields.
pub(super) fn inner(message: &MessageDescriptor, field: &str) -> Inner {
    let found = message.get_field_by_name(field).or_else(|| message.get_field_by_json_name(field));
    let Some(field) = found else { return Inner::Unknown };
    let message = |kind: Kind| match kind {
        Kind::Message(inner) if !inner.full_name().starts_with("google.protobuf.") => Some(inner),
        _ => None,
    };
    let of = if field.is_map() {
        let entry = match field.kind() {
            Kind::Message(entry) => entry,
            _ => return Inner::Value,
        };
        return message(entry.map_entry_value_field().kind()).map_or(Inner::Value, Inner::Values);
    } else {
        message(field.kind())
    };
    of.map_or(Inner::Value, Inner::Message)
}

/// What stands in a field.
pub(super) enum Inner {
    /// There is no such field.
    Unknown,
    /// A value without fields of its own.
    Value,
    /// A message, or a list of them.
    Message(MessageDescriptor),
    /// A mapping of keys to messages.
    Values(MessageDescriptor),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compiled(files: &[(&str, &str)], folders: &[&str]) -> Result<Vec<String>, String> {
        let read = |path: &Path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| text.to_string()).ok_or_else(|| io::ErrorKind::NotFound.into())
        };
        let folders: Vec<PathBuf> = folders.iter().map(PathBuf::from).collect();
        compile(Path::new(files[0].0), &folders, &read).map(|pool| services(&pool))
    }

    const CATALOG: &str = "syntax = \"proto3\";\npackage shop.v1;\nimport \"shop/types.proto\";\nimport \"google/protobuf/timestamp.proto\";\nmessage Get { Id id = 1; google.protobuf.Timestamp at = 2; }\nservice Catalog { rpc Get(Get) returns (Get); }\n";
    const TYPES: &str = "syntax = \"proto3\";\npackage shop.v1;\nmessage Id { string value = 1; }\n";

    #[test]
    fn imports_are_found_in_the_folders_and_googles_own_are_known() {
        let files = [("protos/shop/catalog.proto", CATALOG), ("protos/shop/types.proto", TYPES)];
        assert_eq!(compiled(&files, &["protos"]), Ok(vec!["shop.v1.Catalog".to_string()]));
        assert_eq!(
            compiled(&files, &["protos/shop"]),
            Err(
                "catalog.proto imports shop/types.proto, which is not there: name its folder under `include`"
                    .to_string()
            )
        );
        assert_eq!(
            compiled(&files, &["elsewhere"]),
            Err("it lies in none of the folders under `include`".to_string())
        );
    }

    #[test]
    fn what_is_wrong_with_a_file_is_told_with_its_place() {
        let text = CATALOG.replace("Id id = 1", "Idd id = 1");
        let files = [("protos/shop/catalog.proto", text.as_str()), ("protos/shop/types.proto", TYPES)];
        let error = compiled(&files, &["protos"]).unwrap_err();
        assert!(error.contains("shop/catalog.proto:5:15") && error.contains("Idd"), "{error}");
        let error = compiled(&[("a.proto", "syntax = \"proto3\";\nmessage {")], &[""]).unwrap_err();
        assert!(error.starts_with("a.proto:2:9"), "{error}");
        let mut pool = DescriptorPool::new();
        assert!(add_set(&mut pool, b"not one").unwrap_err().contains("--include_imports"));
    }
}
