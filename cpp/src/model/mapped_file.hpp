// A whole file, mapped read-only. Pages are shared with every other process that has the same file open.
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace safetyclf::model {

class MappedFile {
public:
    MappedFile() = default;
    // Throws Error(model_io) when the file cannot be opened or mapped or is not a regular file,
    // Error(model_format) when it is empty. Messages do not name the file. A file that is cut short while it
    // is mapped ends the process (SIGBUS), like any mapped file: writers must rename a new file over it.
    explicit MappedFile(const std::string& path);
    ~MappedFile();
    MappedFile(const MappedFile&) = delete;
    MappedFile& operator=(const MappedFile&) = delete;

    [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }
    // Gives back the memory of the whole pages inside `part` until they are read again.
    void release(std::span<const std::byte> part) const;

private:
    std::span<const std::byte> bytes_;
};

}  // namespace safetyclf::model
