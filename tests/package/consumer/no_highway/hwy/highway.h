#error "a consumer of quire::core reached Highway"
